"""The published tensors: find a crystal, give its answer in the frame that it is asked in."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter
from math import gcd
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from tests.replay_vasp.matching import match, primitive

FILES = {'PBEsol': 'phonondb_born.jsonl.gz', 'PBE': 'petousis2017_mp.jsonl.gz'}
_FORMULA = re.compile(rb'"formula": "([^"]+)"')


class Answer(NamedTuple):
    id: str
    electronic: np.ndarray
    ionic: np.ndarray
    born_charges: np.ndarray  # zeros where the set has none
    gap: float  # eV
    frequency: float  # THz, lowest optical


def folder():
    default = Path(__file__).resolve().parents[2] / '..' / 'shared' / 'data'
    return Path(os.environ.get('GOECTP_REPLAY_DATA', default))


def rows(functional):
    """Rows of a set with their formulas, parsed only when asked."""
    with gzip.open(folder() / FILES[functional], 'rb') as stream:
        for line in stream:
            yield _FORMULA.search(line).group(1).decode(), line


def composition(symbols):
    counts = Counter(symbols)
    divisor = gcd(*counts.values())
    return {symbol: count // divisor for symbol, count in counts.items()}


def composition_of(formula):
    while '(' in formula:
        formula = re.sub(r'\(([^()]*)\)(\d*)', lambda found: found[1] * int(found[2] or 1), formula)
    counts = Counter()
    for symbol, count in re.findall(r'([A-Z][a-z]?)(\d*)', formula):
        counts[symbol] += int(count or 1)
    divisor = gcd(*counts.values())
    return {symbol: count // divisor for symbol, count in counts.items()}


def find(lattice, numbers, positions, functional) -> Answer | None:
    """The answer for a crystal in its own frame, or None."""
    if functional not in FILES:
        return None
    wanted = composition(chemical_symbols[number] for number in numbers)
    target = primitive(lattice, numbers, positions)
    best = None
    for formula, line in rows(functional):
        if composition_of(formula) != wanted:
            continue
        row = json.loads(line)
        kinds = np.array([atomic_numbers[symbol] for symbol in row['species']])
        found = match(target, primitive(np.array(row['lattice']), kinds, np.array(row['frac_coords'])))
        if found is not None and (best is None or found.mismatch < best[0].mismatch):
            best = (found, row)
    return None if best is None else _turn(*best)


def _turn(found, row):
    turn = found.rotation
    electronic = np.array(row['eps_electronic'])
    ionic = np.array(row['eps_ionic_fd'] if 'eps_ionic_fd' in row else row['eps_ionic'])
    charges = np.array(row['born']) if row.get('born') else np.zeros((len(row['species']), 3, 3))
    gap = row.get('band_gap')
    if gap is None:  # Moss: n⁴ Eg = 95 eV; a stand-in where the set has no gap
        gap = min(95.0 / (np.trace(electronic) / 3) ** 2, 12.0) if row.get('electronic_ok', True) else 0.0
    frequency = row.get('freq_min_opt_THz')
    return Answer(
        row['id'],
        turn @ electronic @ turn.T,
        turn @ ionic @ turn.T,
        turn @ charges[found.atoms] @ turn.T,
        float(gap),
        2.0 if frequency is None else float(frequency),
    )
