"""Published tables in ``tests/data``, and their rows as responses."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.dielectric.response import DielectricResponse

DATA = Path(__file__).parent / 'data'
PHONONDB = DATA / 'phonondb_born.jsonl.gz'
PHONONDB_LARGE = DATA / 'phonondb_unlabelled.jsonl.gz'
PETOUSIS = DATA / 'petousis2017_mp.jsonl.gz'
MP20 = DATA / 'mp20.jsonl.gz'


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a table by id."""
    with gzip.open(path, 'rt', encoding='utf-8') as stream:
        return {row['id']: row for row in map(json.loads, stream)}


def response_of(row, **more):
    """Return the response of a row, in the frame of its lattice."""
    numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in row['species']], np.int16)
    crystal = Crystal(row['id'], np.array(row['lattice']), numbers, np.array(row['frac_coords'], dtype=float))
    ionic = row.get('eps_ionic', row.get('eps_ionic_fd'))
    values = {
        'electronic': np.array(row['eps_electronic']),
        'ionic': None if ionic is None else np.array(ionic),
        'born_charges': None if 'born' not in row else np.array(row['born']),
        'band_gap': row.get('band_gap'),
        'engine': 'vasp',
        'functional': 'PBEsol' if 'born' in row else 'PBE',
    }
    return DielectricResponse(crystal, **(values | more))
