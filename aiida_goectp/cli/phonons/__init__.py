"""``aiida-goectp phonons``: modes, files for phonopy and infrared spectra of predictions and of DFPT results."""
