"""Published tensors: search for a crystal, and rotation of its tensors into the frame of the request."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS, symbols_of
from tests.replay_vasp.matching import Match, find_match, primitive_cell

FILES = {'PBEsol': 'phonondb_born.jsonl.gz', 'PBE': 'petousis2017_mp.jsonl.gz'}
DATA = Path(__file__).resolve().parents[1] / 'data'


class Answer(NamedTuple):
    """Tensors of a published crystal in the frame of the request."""

    id: str
    electronic: np.ndarray
    ionic: np.ndarray
    born_charges: np.ndarray
    """(n, 3, 3) e; zeros where the table has none"""
    gap: float
    """eV"""
    frequency: float
    """THz, lowest optical mode"""


def rows(functional: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table of a functional."""
    folder = Path(os.environ.get('GOECTP_REPLAY_DATA', DATA))
    with gzip.open(folder / FILES[functional], 'rt', encoding='utf-8') as stream:
        yield from map(json.loads, stream)


def composition(symbols: Sequence[str]) -> dict[str, int]:
    """Return the number of atoms of each element in a formula unit."""
    counts = Counter(symbols)
    divisor = gcd(*counts.values())
    return {symbol: count // divisor for symbol, count in counts.items()}


def find(lattice: np.ndarray, numbers: np.ndarray, positions: np.ndarray, functional: str) -> Answer | None:
    """Return the tensors of a crystal in its own frame; None if no table has it."""
    if functional not in FILES:
        return None
    wanted = composition(symbols_of(numbers))
    target = primitive_cell(lattice, numbers, positions)
    best: tuple[Match, dict[str, Any]] | None = None
    for row in rows(functional):
        if composition(row['species']) != wanted:
            continue
        elements = np.array([ATOMIC_NUMBERS[symbol] for symbol in row['species']])
        found = find_match(
            target, primitive_cell(np.array(row['lattice']), elements, np.array(row['frac_coords'], dtype=float))
        )
        if found is not None and (best is None or found.mismatch < best[0].mismatch):
            best = found, row
    return None if best is None else _rotated(*best)


def _rotated(found: Match, row: dict[str, Any]) -> Answer:
    rotation = found.rotation
    electronic = np.array(row['eps_electronic'])
    ionic = np.array(row['eps_ionic_fd'] if 'eps_ionic_fd' in row else row['eps_ionic'])
    charges = np.array(row['born']) if row.get('born') else np.zeros((len(row['species']), 3, 3))
    gap = row.get('band_gap')
    if gap is None:  # phonondb has no gap; T. S. Moss: n⁴ E_gap = 95 eV
        gap = min(95.0 / (np.trace(electronic) / 3) ** 2, 12.0) if row.get('electronic_ok', True) else 0.0
    frequency = row.get('freq_min_opt_THz')
    return Answer(
        row['id'],
        rotation @ electronic @ rotation.T,
        rotation @ ionic @ rotation.T,
        rotation @ charges[found.atoms] @ rotation.T,
        float(gap),
        2.0 if frequency is None else float(frequency),
    )
