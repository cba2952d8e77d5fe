"""Occupations of a metal, written into the files of an insulator."""

from __future__ import annotations

import re
from math import erfc

_ROW = re.compile(rb'(<r>) *(-?[0-9.]+) +[0-9.]+ *(</r>)')
_FERMI = re.compile(rb'(name="efermi">)[^<]*(<)')
_WIDTH = 0.05


def smeared(vasprun: bytes, fermi: float) -> bytes:
    """Return a vasprun.xml with the Fermi energy and the occupations of Gaussian smearing with a width of 0.05 eV.

    :param fermi: eV
    """
    vasprun = _FERMI.sub(rb'\g<1> %.8f \g<2>' % fermi, vasprun)
    return _ROW.sub(lambda row: b'<r> %s %.4f </r>' % (row[2], filling(float(row[2]), fermi)), vasprun)


def filling(energy: float, fermi: float) -> float:
    """Return the occupation of a level, at most 1."""
    return erfc((energy - fermi) / _WIDTH) / 2
