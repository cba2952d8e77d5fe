"""Active-learning campaigns: the work chain, its inputs, retrainings, and the request to stop."""
