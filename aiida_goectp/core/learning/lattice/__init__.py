"""Labels and loss of the force constant network."""
