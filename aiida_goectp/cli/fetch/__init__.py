"""``aiida-goectp fetch``: crystals from databases."""
