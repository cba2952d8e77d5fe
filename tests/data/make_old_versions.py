"""Write the files of ``old_versions`` with the package version that wrote them, as a user may still have them.

.. code-block:: console

    $ git archive COMMIT aiida_goectp | tar x -C FOLDER
    $ PYTHONPATH=FOLDER python tests/data/make_old_versions.py tests/data/old_versions

Commit 58d1ecf writes version 1, 3600d15^ version 2 of dataset and ranking, 0c772ed version 2 of predictions and partial
file and version 3 of the ranking, e021dee^ version 3 of the partial file and version 1 of the picks, 95759a7^ version 1
of a response. Existing files are kept.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np


def find(name, *modules):
    """Return an object of the first module that exists."""
    for module in modules:
        try:
            return getattr(importlib.import_module(f'aiida_goectp.{module}'), name)
        except (ImportError, AttributeError):
            continue
    return None


def version_of(content):
    """Return the version within an npz file."""
    return int(np.load(content)['version'])


def crystals_of(crystal, crystal_set):
    """Return rock salts of two sizes."""
    lattice = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.0
    rows = [crystal(name, lattice * scale, [12, 8], [[0, 0, 0], [0.5] * 3]) for name, scale in (('a', 1), ('b', 1.1))]
    rows = [
        row._replace(atomic_numbers=np.array([12, 8], np.int16), fractional_positions=np.array(row[3])) for row in rows
    ]
    return crystal_set.from_crystals(rows)


def write(target: Path) -> None:
    """Write the files of the imported version."""
    crystal = find('Crystal', 'core.crystals', 'crystals', 'crystals.crystalset')
    crystal_set = find('CrystalSet', 'core.crystals', 'crystals', 'crystals.crystalset')
    table = crystals_of(crystal, crystal_set)
    tensors = np.arange(2, 4)[:, None, None] * np.eye(3)
    unknown = np.full((2, 3, 3), np.nan)
    flags, errors = np.zeros(2, np.uint32), np.array(['', ''], dtype='<U1')
    columns = (tensors, tensors / 2, 1.5 * tensors, unknown, unknown, unknown, flags, errors)
    predictions = find('Predictions', 'core.dielectric.predictions', 'predictions')
    predicted = predictions(table.ids, table.hashes, *columns, 'a' * 40)
    keep(target, 'predictions', predicted)
    dataset = find('Dataset', 'core.datasets.dataset', 'dataset')
    keep(target, 'dataset', dataset(table, tensors, tensors / 2))
    rank = find('rank', 'core.selection.ranking', 'core.selection.rank', 'selection.ranking')
    if rank is not None:
        keep(target, 'ranking', rank(table, predicted, 'total'))
    write_picks(target, table)
    response = find('DielectricResponse', 'core.dielectric.response')
    if response is not None:
        charges = np.array([2.0, -2.0])[:, None, None] * np.eye(3)
        keep(
            target,
            'dielectric',
            response(table[0], tensors[0], tensors[0] / 2, charges, np.array([0.0] * 3 + [9.0] * 3), functional='PBE'),
        )
    write_partial(target, table, tensors)


def write_picks(target: Path, table) -> None:
    """Write picks: the second row is picked."""
    picks = find('Picks', 'core.selection.picks')
    if picks is None:
        return
    columns = {
        'mean': np.array([3.0, 4.5]),
        'std': np.array([0.5, np.nan]),
        'score': np.array([3.0, 4.5]),
        'place': np.array([2, 1]),
        'pick': np.array([0, 1]),
        'reason': np.array(['not picked: place 2 of 2 by greedy', 'picked: place 1 of 2 by greedy']),
    }
    keep(target, 'picks', picks(table.ids, table.hashes, **columns, figure_of_merit='total', settings={'round': 1}))


def write_partial(target: Path, table, tensors) -> None:
    """Write a partial file with the first of two rows."""
    places = ('core.executable.partial', 'worker.partial')
    partial_file, identity = find('PartialFile', *places), find('identity', *places)
    batch = find('PredictedBatch', 'core.learning.results') or find('Chunk', 'learning.predict')
    more = {'phonons': False} if 'phonons' in identity.__code__.co_varnames[: identity.__code__.co_argcount] else {}
    header = identity(table, 'a' * 40, 'float32', **more)
    path = target / f'v{header["version"]}.predictions.npz.partial'
    if path.exists():
        return
    values = {
        'rows': np.arange(1),
        'tensors': np.full((1, 6, 3, 3), 7.0),
        'flags': np.zeros(1, np.uint32),
        'errors': [''],
        'deviations': np.full((1, 3, 5), 0.5),
        'stability': np.full(1, 0.5),
    }
    file = partial_file(path, header)
    file.append(batch(**{name: value for name, value in values.items() if name in batch._fields}))
    file.close()
    print(path.name, json.dumps(header))


def keep(target: Path, name: str, table) -> None:
    """Save a table under its version, unless there is such a file."""
    written = target / f'{name}.npz'
    table.save(written)
    path = target / f'v{version_of(written)}.{name}.npz'
    if path.exists():
        written.unlink()
    else:
        written.rename(path)
        print(path.name)


if __name__ == '__main__':
    # an editable installation completes missing modules from the present version
    sys.meta_path = [finder for finder in sys.meta_path if 'editable' not in repr(finder).lower()]
    write(Path(sys.argv[1]))
