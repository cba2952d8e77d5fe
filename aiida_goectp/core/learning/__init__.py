"""Training, evaluation and prediction: loops over crystal sets."""
