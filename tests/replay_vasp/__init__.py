"""Replay VASP: an executable that reads the inputs of VASP and writes what VASP once gave for that crystal.

``python -m tests.replay_vasp`` reads INCAR, POSCAR, KPOINTS and POTCAR in the working folder, finds the crystal in a
set of published tensors (any cell, orientation, atom order, origin), turns tensor and Born charges into the frame of
the POSCAR, and writes vasprun.xml, OUTCAR, CONTCAR. What the sets do not hold is made up and plain to see: band
energies, total energies, and frequencies (all optical modes at the lowest that the set names).

Environment:

``GOECTP_REPLAY_DATA``     folder of the sets
``GOECTP_REPLAY_FAULTS``   how to fail, see :mod:`.faults`
``GOECTP_REPLAY_STATE``    folder in which faults are counted
``GOECTP_REPLAY_SECONDS``  seconds to sleep first
"""
