"""The command group ``aiida-goectp setup``."""
