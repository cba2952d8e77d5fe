"""``aiida-goectp setup``: computer, codes, models, and pseudopotentials."""
