"""Element features: nine properties in bins, one-hot encoded (92 numbers).

Properties and bins are those of CGCNN (Xie and Grossman, Phys. Rev. Lett. 120, 145301, 2018, supplement), which GoeCTP
and many related networks use: group (0 for lanthanides and actinides), period, Pauling electronegativity (0.5 to 4.0),
covalent radius (25 to 250 pm), valence electrons (1 to 12), first ionisation energy (logarithmic, 1.3 to 3.3 in ln eV),
electron affinity (−3 to 3.7 eV), block (s, p, d, f), atomic volume (logarithmic, 1.5 to 4.3 in ln cm³/mol); properties
with a range have ten bins.
"""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ('ELECTRONEGATIVITY', 'FEATURES', 'HEAVIEST', 'RADIUS', 'element_features', 'element_scales')

_SIZES = (19, 7, 10, 10, 12, 10, 10, 4, 10)

FEATURES = sum(_SIZES)
"""number of features of an element: 92"""

# Symbol and bin of each property, counted from 0; a dot for no value.
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
"""largest atomic number in the table"""


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


# Symbol, electronegativity (Pauling's scale; Allred, J. Inorg. Nucl. Chem. 17, 215 (1961), with later additions) and
# covalent radius in Å (Cordero et al., Dalton Trans. 2832 (2008)); a dot for no value.
_MEASURED = """
    H 2.20 0.31   He . 0.28   Li 0.98 1.28   Be 1.57 0.96   B 2.04 0.84   C 2.55 0.76   N 3.04 0.71   O 3.44 0.66
    F 3.98 0.57   Ne . 0.58   Na 0.93 1.66   Mg 1.31 1.41   Al 1.61 1.21   Si 1.90 1.11   P 2.19 1.07   S 2.58 1.05
    Cl 3.16 1.02   Ar . 1.06   K 0.82 2.03   Ca 1.00 1.76   Sc 1.36 1.70   Ti 1.54 1.60   V 1.63 1.53   Cr 1.66 1.39
    Mn 1.55 1.39   Fe 1.83 1.32   Co 1.88 1.26   Ni 1.91 1.24   Cu 1.90 1.32   Zn 1.65 1.22   Ga 1.81 1.22
    Ge 2.01 1.20   As 2.18 1.19   Se 2.55 1.20   Br 2.96 1.20   Kr 3.00 1.16   Rb 0.82 2.20   Sr 0.95 1.95
    Y 1.22 1.90   Zr 1.33 1.75   Nb 1.60 1.64   Mo 2.16 1.54   Tc 1.90 1.47   Ru 2.20 1.46   Rh 2.28 1.42
    Pd 2.20 1.39   Ag 1.93 1.45   Cd 1.69 1.44   In 1.78 1.42   Sn 1.96 1.39   Sb 2.05 1.39   Te 2.10 1.38
    I 2.66 1.39   Xe 2.60 1.40   Cs 0.79 2.44   Ba 0.89 2.15   La 1.10 2.07   Ce 1.12 2.04   Pr 1.13 2.03
    Nd 1.14 2.01   Pm 1.13 1.99   Sm 1.17 1.98   Eu 1.20 1.98   Gd 1.20 1.96   Tb 1.10 1.94   Dy 1.22 1.92
    Ho 1.23 1.92   Er 1.24 1.89   Tm 1.25 1.90   Yb 1.10 1.87   Lu 1.27 1.87   Hf 1.30 1.75   Ta 1.50 1.70
    W 2.36 1.62   Re 1.90 1.51   Os 2.20 1.44   Ir 2.20 1.41   Pt 2.28 1.36   Au 2.54 1.36   Hg 2.00 1.32
    Tl 1.62 1.45   Pb 2.33 1.46   Bi 2.02 1.48   Po 2.00 1.40   At 2.20 1.50   Rn 2.20 1.50   Fr 0.70 2.60
    Ra 0.90 2.21   Ac 1.10 2.15   Th 1.30 2.06   Pa 1.50 2.00   U 1.38 1.96   Np 1.36 1.90   Pu 1.28 1.87
    Am 1.30 1.80   Cm 1.30 1.69   Bk 1.30 .   Cf 1.30 .   Es 1.30 .   Fm 1.30 .
"""
ELECTRONEGATIVITY, RADIUS = 2, 3
"""columns of :func:`element_scales`"""
_LAST_RADIUS = 1.69
"""Å, radius of Cm, used for heavier elements"""


@cache
def element_scales() -> np.ndarray:
    """Return each property of every element as one number.

    This is the index of the bin, except for the electronegativity (Pauling scale) and the covalent radius (Å): bond
    lengths are compared with sums of radii, for which bins of 0.2 Å are too coarse.

    :return: (101, 9), row = atomic number; zero for no value
    """
    features = element_features()
    ends = np.cumsum(_SIZES)
    blocks = [features[:, end - size : end] for size, end in zip(_SIZES, ends, strict=True)]
    scales = np.stack([block.argmax(axis=1) for block in blocks], axis=1).astype(np.float32)
    fields = _MEASURED.split()
    for column, default, values in ((ELECTRONEGATIVITY, 0.0, fields[1::3]), (RADIUS, _LAST_RADIUS, fields[2::3])):
        scales[1:, column] = [default if value == '.' else float(value) for value in values]
    return scales
