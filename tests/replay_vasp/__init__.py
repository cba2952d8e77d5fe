"""Executable in place of VASP: reads its inputs and writes its outputs from published tensors.

``python -m tests.replay_vasp`` reads INCAR, POSCAR, KPOINTS and POTCAR in the working folder, finds the crystal in a
table (any cell, orientation, order of atoms, origin), rotates tensors and Born charges into the frame of the POSCAR,
and writes vasprun.xml, OUTCAR and CONTCAR. What the tables lack is invented: band energies, total energies, and
frequencies (all optical modes have the lowest frequency of the table).

Environment:

``GOECTP_REPLAY_DATA``     folder of the tables, ``tests/data`` by default
``GOECTP_REPLAY_FAULTS``   failures, see :mod:`.faults`
``GOECTP_REPLAY_STATE``    folder in which failures are counted
``GOECTP_REPLAY_SECONDS``  seconds to sleep before the start
"""
