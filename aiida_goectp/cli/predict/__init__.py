"""``aiida-goectp predict``."""
