"""File formats and their versions: npz tables, model cards, settings and training logs."""
