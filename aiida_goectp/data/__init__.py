"""AiiDA data types: one node for a whole table of crystals, labels, predictions or ranks, and one for a model."""
