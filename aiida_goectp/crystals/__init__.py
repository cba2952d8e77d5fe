"""Many crystals as flat arrays, their file format, and the ways in and out."""

from aiida_goectp.crystals.crystalset import Crystal, CrystalSet, Failure

__all__ = ('Crystal', 'CrystalSet', 'Failure')
