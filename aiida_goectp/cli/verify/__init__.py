"""``aiida-goectp verify``."""
