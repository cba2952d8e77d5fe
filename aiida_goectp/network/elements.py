"""What the network knows of an element: nine properties, each in bins, one-hot (92 numbers).

The properties and bins are those of CGCNN (Xie and Grossman, Phys. Rev. Lett. 120, 145301, 2018, supplement), which
GoeCTP and most of its kin take over: group (0 for lanthanides and actinides), period, Pauling electronegativity
(0.5 to 4.0), covalent radius (25 to 250 pm), valence electrons (1 to 12), first ionisation energy (logarithmic, 1.3 to
3.3 in ln eV), electron affinity (−3 to 3.7 eV), block (s, p, d, f), atomic volume (logarithmic, 1.5 to 4.3 in
ln cm³/mol); ten bins each where a range stands.
"""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ('FEATURES', 'HEAVIEST', 'element_features', 'element_scales')

_SIZES = (19, 7, 10, 10, 12, 10, 10, 4, 10)

FEATURES = sum(_SIZES)
"""numbers an element: 92"""

# Symbol and its bin in each property, counted from 0; a dot where the property has no value.
_BINS = """
     H 1 0 4 0 0 6 5 0 4   He 18 0 . 0 1 9 . 0 6   Li 1 1 1 4 0 1 5 0 3   Be 2 1 3 3 1 4 0 0 0
     B 13 1 4 2 2 4 4 1 0    C 14 1 5 2 3 5 6 1 0    N 15 1 7 2 4 6 2 1 4    O 16 1 8 1 5 6 6 1 4
     F 17 1 9 1 6 7 9 1 4   Ne 18 1 . 1 7 8 . 1 4   Na 1 2 1 5 0 1 5 0 5   Mg 2 2 2 5 1 3 . 0 4
    Al 13 2 3 4 2 2 5 1 2   Si 14 2 3 4 3 3 6 1 3    P 15 2 4 3 4 5 5 1 4    S 16 2 5 3 5 5 7 1 4
    Cl 17 2 7 3 6 6 9 1 5   Ar 18 2 . 3 7 7 . 1 6    K 1 3 0 7 0 0 5 0 8   Ca 2 3 1 6 1 2 4 0 6
    Sc 3 3 2 5 2 2 4 2 4   Ti 4 3 2 4 3 3 4 2 3    V 5 3 3 4 4 3 5 2 2   Cr 6 3 3 4 5 3 5 2 1
    Mn 7 3 3 4 6 3 . 2 1   Fe 8 3 3 4 7 3 4 2 1   Co 9 3 3 3 8 3 5 2 1   Ni 10 3 4 3 9 3 6 2 1
    Cu 11 3 3 3 10 3 6 2 1   Zn 12 3 3 4 11 4 . 2 2   Ga 13 3 3 4 2 2 5 1 3   Ge 14 3 4 4 3 3 6 1 3
    As 15 3 4 4 4 4 5 1 3   Se 16 3 5 4 5 4 7 1 4   Br 17 3 7 3 6 5 9 1 5   Kr 18 3 . 4 7 6 . 1 7
    Rb 1 4 0 8 0 0 5 0 9   Sr 2 4 1 7 1 2 4 0 7    Y 3 4 2 6 2 2 4 2 5   Zr 4 4 2 5 3 2 5 2 4
    Nb 5 4 3 5 4 3 5 2 3   Mo 6 4 4 5 5 3 5 2 2   Tc 7 4 4 4 6 3 5 2 2   Ru 8 4 4 4 7 3 6 2 2
    Rh 9 4 5 4 8 3 6 2 2   Pd 10 4 4 4 11 4 5 2 2   Ag 11 4 4 4 10 3 6 2 2   Cd 12 4 3 4 11 4 . 2 3
    In 13 4 3 5 2 2 4 1 4   Sn 14 4 4 5 3 3 6 1 4   Sb 15 4 4 5 4 4 6 1 5   Te 16 4 4 4 5 4 7 1 5
     I 17 4 6 4 6 5 9 1 6   Xe 18 4 6 4 7 5 4 1 8   Cs 1 5 0 9 0 0 5 0 9   Ba 2 5 1 7 1 1 4 0 7
    La 0 5 1 6 1 2 5 3 5   Ce 0 5 1 6 1 2 5 3 5   Pr 0 5 1 6 1 1 5 3 5   Nd 0 5 1 6 1 2 7 3 5
    Pm 0 5 . 6 1 2 . 3 .   Sm 0 5 1 6 1 2 . 3 5   Eu 0 5 . 6 1 2 5 3 6   Gd 0 5 1 6 1 2 . 3 5
    Tb 0 5 . 6 1 2 6 3 5   Dy 0 5 2 6 1 2 5 3 5   Ho 0 5 2 6 1 2 . 3 5   Er 0 5 2 6 1 2 . 3 5
    Tm 0 5 2 6 1 2 6 3 4   Yb 0 5 . 6 1 2 4 3 6   Lu 3 5 1 6 2 1 4 2 4   Hf 4 5 2 5 3 3 4 2 3
    Ta 5 5 2 5 4 3 4 2 3    W 6 5 3 4 5 3 5 2 2   Re 7 5 3 4 6 3 4 2 2   Os 8 5 4 4 7 4 6 2 2
    Ir 9 5 4 4 8 4 6 2 2   Pt 10 5 4 4 9 4 7 2 2   Au 11 5 5 4 10 4 7 2 2   Hg 12 5 3 4 11 5 . 2 4
    Tl 13 5 3 5 2 2 5 1 4   Pb 14 5 3 5 3 3 5 1 5   Bi 15 5 3 5 4 3 5 1 5   Po 16 5 4 5 5 4 7 1 5
    At 17 5 4 5 6 4 8 1 .   Rn 18 5 . 5 7 5 . 1 .   Fr 1 6 0 8 0 0 5 0 .   Ra 2 6 1 7 1 1 4 0 8
    Ac 0 6 1 7 1 1 5 3 5   Th 0 6 2 6 1 2 . 3 5   Pa 0 6 2 6 1 2 . 3 4    U 0 6 3 6 1 2 . 3 3
    Np 0 6 2 6 1 2 . 3 5   Pu 0 6 2 6 1 2 . 3 .   Am 0 6 . 6 1 2 . 3 5   Cm 0 6 . 6 1 2 . 3 5
    Bk 0 6 . 6 1 2 . 3 .   Cf 0 6 . 6 1 2 . 3 .   Es 0 6 . 6 1 2 . 3 .   Fm 0 6 . 6 1 2 . 3 .
"""

HEAVIEST = 100
"""largest atomic number that the table knows"""


@cache
def element_features() -> np.ndarray:
    """Return the one-hot features of every element.

    :return: (101, 92) zeros and ones, row = atomic number; row 0 is empty
    """
    features = np.zeros((HEAVIEST + 1, FEATURES), dtype=np.float32)
    starts = np.concatenate([[0], np.cumsum(_SIZES)[:-1]])
    fields = _BINS.split()
    width = 1 + len(_SIZES)
    for number in range(1, HEAVIEST + 1):
        for start, place in zip(starts, fields[(number - 1) * width + 1 : number * width], strict=True):
            if place != '.':
                features[number, start + int(place)] = 1
    return features


_RADII = (0.25, 0.225)
"""Å: lower edge of the first bin of covalent radii, and the width of a bin"""


@cache
def element_scales() -> np.ndarray:
    """Return each property of every element as one number: its bin, or the middle of the bin in Å for the radius.

    :return: (101, 9), row = atomic number; zero where a property has no value, 1.5 Å for such a radius
    """
    features = element_features()
    ends = np.cumsum(_SIZES)
    blocks = [features[:, end - size : end] for size, end in zip(_SIZES, ends, strict=True)]
    scales = np.stack([block.argmax(axis=1) for block in blocks], axis=1).astype(np.float32)
    known = blocks[3].any(axis=1)
    scales[:, 3] = np.where(known, _RADII[0] + _RADII[1] * (scales[:, 3] + 0.5), 1.5)
    return scales
