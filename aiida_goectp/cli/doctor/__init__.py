"""Checks of profile, computers and codes: before a launch, and all of them in ``aiida-goectp doctor``."""
