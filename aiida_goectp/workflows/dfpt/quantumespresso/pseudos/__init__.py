"""Generation of norm-conserving pseudopotentials with ``ld1.x``, for machines without network access.

``ld1.x``, the atomic code of Quantum ESPRESSO, generates a UPF file from an input of a dozen lines within a second.
This package contains recipes for light elements (PBEsol, scalar relativistic), writes the inputs, runs the code and
checks the files.
"""

from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.family import generate_family
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.generation import PseudoError, generate
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.recipes import RECIPES, Channel, Recipe

__all__ = ('RECIPES', 'Channel', 'PseudoError', 'Recipe', 'generate', 'generate_family')
