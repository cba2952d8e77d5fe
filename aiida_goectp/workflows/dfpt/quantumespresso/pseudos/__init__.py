"""Norm-conserving pseudopotentials that ``ld1.x`` makes on the spot, for machines that can download none.

Quantum ESPRESSO's atomic code turns a dozen lines into a UPF file in a second. This package carries such recipes for
the light elements (PBEsol, scalar relativistic), renders them, runs the code, and hands over only files that have
passed their checks.
"""

from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.family import generate_family
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.generation import PseudoError, generate
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.recipes import RECIPES, Channel, Recipe

__all__ = ('RECIPES', 'Channel', 'PseudoError', 'Recipe', 'generate', 'generate_family')
