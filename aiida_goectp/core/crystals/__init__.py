"""Sets of crystals: container, file format, readers, validation, symmetry and layers."""

from aiida_goectp.core.crystals.crystalset import Crystal, CrystalSet, Failure
from aiida_goectp.core.crystals.readers import read_bytes, read_contents, read_structures
from aiida_goectp.core.crystals.validation import CrystalError, check_crystal, split_valid

__all__ = (
    'Crystal',
    'CrystalError',
    'CrystalSet',
    'Failure',
    'check_crystal',
    'read_bytes',
    'read_contents',
    'read_structures',
    'split_valid',
)
