"""Loops over atoms and operations, compiled with numba."""
