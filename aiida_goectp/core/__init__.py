"""The library: crystals, tensors, network, learning, selection, file formats and the executable ``goectp``.

Nothing in here imports aiida or pymatgen.
"""
