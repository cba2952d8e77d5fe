"""Chemical symbols and atomic numbers, without the import time of ASE."""

from __future__ import annotations

from collections import Counter

import numpy as np

__all__ = ('ATOMIC_NUMBERS', 'SYMBOLS', 'formula', 'reduced_formula', 'symbols_of')

SYMBOLS: tuple[str, ...] = (
    'X',
    *('H', 'He', 'Li', 'Be', 'B', 'C', 'N', 'O', 'F', 'Ne', 'Na', 'Mg', 'Al', 'Si', 'P', 'S', 'Cl', 'Ar'),
    *('K', 'Ca', 'Sc', 'Ti', 'V', 'Cr', 'Mn', 'Fe', 'Co', 'Ni', 'Cu', 'Zn', 'Ga', 'Ge', 'As', 'Se', 'Br', 'Kr'),
    *('Rb', 'Sr', 'Y', 'Zr', 'Nb', 'Mo', 'Tc', 'Ru', 'Rh', 'Pd', 'Ag', 'Cd', 'In', 'Sn', 'Sb', 'Te', 'I', 'Xe'),
    *('Cs', 'Ba', 'La', 'Ce', 'Pr', 'Nd', 'Pm', 'Sm', 'Eu', 'Gd', 'Tb', 'Dy', 'Ho', 'Er', 'Tm', 'Yb', 'Lu'),
    *('Hf', 'Ta', 'W', 'Re', 'Os', 'Ir', 'Pt', 'Au', 'Hg', 'Tl', 'Pb', 'Bi', 'Po', 'At', 'Rn'),
    *('Fr', 'Ra', 'Ac', 'Th', 'Pa', 'U', 'Np', 'Pu', 'Am', 'Cm', 'Bk', 'Cf', 'Es', 'Fm', 'Md', 'No', 'Lr'),
    *('Rf', 'Db', 'Sg', 'Bh', 'Hs', 'Mt', 'Ds', 'Rg', 'Cn', 'Nh', 'Fl', 'Mc', 'Lv', 'Ts', 'Og'),
)
"""Chemical symbol of each atomic number; 0 is not an element."""

ATOMIC_NUMBERS: dict[str, int] = {
    **{symbol: number for number, symbol in enumerate(SYMBOLS) if number},
    'D': 1,  # static dielectric tensors do not depend on masses
    'T': 1,
}
"""Atomic number of each chemical symbol, isotopes of hydrogen included."""


def symbols_of(atomic_numbers: np.ndarray) -> list[str]:
    """Return the chemical symbol of each atomic number."""
    return [SYMBOLS[number] for number in np.asarray(atomic_numbers).tolist()]


def formula(atomic_numbers: np.ndarray) -> str:
    """Return the formula of a cell in Hill order: carbon and hydrogen first if there is carbon, else alphabetical."""
    parts = Counter(symbols_of(atomic_numbers))
    first = [symbol for symbol in ('C', 'H') if 'C' in parts and symbol in parts]
    order = first + sorted(set(parts) - set(first))
    return ''.join(f'{symbol}{parts[symbol] if parts[symbol] > 1 else ""}' for symbol in order)


def reduced_formula(atomic_numbers: np.ndarray) -> str:
    """Return the formula with the smallest whole numbers, in Hill order; it is the same for all cells of a crystal."""
    numbers, counts = np.unique(np.asarray(atomic_numbers), return_counts=True)
    return formula(np.repeat(numbers, counts // np.gcd.reduce(counts)))
