"""The command group ``aiida-goectp campaign``."""
