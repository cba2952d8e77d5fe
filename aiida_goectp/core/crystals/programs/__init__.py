"""Readers of files of other programs: pymatgen, ASE, phonopy, Quantum ESPRESSO, FHI-aims."""
