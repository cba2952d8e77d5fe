"""Rows of the published tables as responses."""

import gzip
import json

import numpy as np

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.dielectric.response import DielectricResponse


def published(path, ids):
    """Return the rows of a jsonl.gz with these ids, by id."""
    found = {}
    with gzip.open(path, 'rt') as stream:
        for line in stream:
            if any(f'"{item}"' in line[:40] for item in ids):
                row = json.loads(line)
                found[row['id']] = row
    return found


def response_of(row, **more):
    """Return the response of a row; its tensors stand in the frame of its lattice."""
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
