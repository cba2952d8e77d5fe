"""Finished DFPT calculations: collection of the outputs of VASP, Quantum ESPRESSO and phonopy to responses."""
