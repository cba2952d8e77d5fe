"""The command lines ``aiida-goectp`` and ``verdi data goectp``."""

from aiida_goectp.cli.root import main

__all__ = ('main',)
