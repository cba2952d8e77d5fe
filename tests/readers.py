"""All readers of files from outside, as functions of bytes: for property tests and for ``make fuzz``.

Each returns normally, or raises ``FormatError``; anything else is a defect.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from aiida_goectp.core.crystals import CrystalSet, read_bytes
from aiida_goectp.core.crystals.property_table import add_columns
from aiida_goectp.core.datasets.reading import read_dataset, read_splits
from aiida_goectp.core.dielectric.outcar import read_outcar
from aiida_goectp.core.dielectric.phonons import parse_dynamical_matrix, parse_tensors
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.executable.partial import PREDICTION, PartialFile
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.model_card import encode_model, member_hashes, model_hash, read_card
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.formats.training_log import TrainingLog
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.network.prepared import PreparedCrystals

CUBIC = '{"id": "a", "lattice": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "species": ["Po"], "frac_coords": [[0, 0, 0]]'
HEADER = {'format': 'aiida-goectp/partial', 'version': 2, 'rows': 100}
_EMPTY_TENSORS = (2).to_bytes(8, 'little') + b'{}'


@cache
def temporary_file() -> Path:
    """A file in memory, if there is such a folder."""
    folder = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    return Path(tempfile.mkdtemp(dir=folder), 'file')


def structure(name: str) -> Callable[[bytes], object]:
    """Reader of a structure file, which never raises: a damaged file is a failure with a code and a message."""

    def read(data: bytes) -> None:
        crystals = read_bytes(name, data)
        assert all(failure.code and failure.message for failure in crystals.failures)

    return read


def some_archive() -> dict[str, bytes]:
    """Members of a crystals.npz."""
    crystals = read_bytes('a.jsonl', f'{CUBIC}, "gap": 1.5, "note": "x"}}'.encode())
    stream = io.BytesIO()
    crystals.save(stream)
    with zipfile.ZipFile(stream) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


_ARCHIVE = some_archive()


def npz_member(data: bytes) -> None:
    """Read a crystals.npz in which the bytes replace one array, chosen by the first byte; checksums are right."""
    if not data:
        return
    chosen = sorted(_ARCHIVE)[data[0] % len(_ARCHIVE)]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        for name, content in _ARCHIVE.items():
            archive.writestr(name, data[1:] if name == chosen else content)
    structure('a.npz')(stream.getvalue())


def dataset(name: str) -> Callable[[bytes], object]:
    """Reader of a dataset."""
    return lambda data: read_dataset(name, data)


def model(data: bytes) -> None:
    """Read card and hashes of a model file."""
    path = temporary_file()
    path.write_bytes(data)
    card = read_card(path)
    model_hash(path)
    member_hashes(path, min(card.members, 4))


def model_card(data: bytes) -> None:
    """Read a card within a valid model file."""
    path = temporary_file()
    path.write_bytes(encode_model(_EMPTY_TENSORS, data.decode(errors='replace')))
    read_card(path)


def training_log(data: bytes) -> None:
    """Read a log, and evaluate all that is derived from it. It never raises."""
    log = TrainingLog.parse(data)
    log.failure(3)
    log.columns()
    _ = log.best, log.last, log.since_best, log.seconds_per_epoch


def partial_file(data: bytes) -> None:
    """Open a partial file; whatever it contains, the run continues from its complete records."""
    path = temporary_file()
    path.write_bytes(data)
    partial = PartialFile(path, PREDICTION, HEADER)
    partial.close()
    rows = [row for batch in partial.batches for row in batch.rows.tolist()]
    assert rows == list(range(len(rows)))


def properties(data: bytes) -> None:
    """Read a property table."""
    crystals = CrystalSet.from_crystals(read_bytes('a.jsonl', f'{CUBIC}}}'.encode()))
    add_columns(crystals, 'table.csv', data)


def settings(data: bytes) -> None:
    """Read training settings."""
    read_settings(TrainSettings, parse_json(data), 'settings')


def text(reader: Callable[[str], object]) -> Callable[[bytes], object]:
    """Reader of a text."""
    return lambda data: reader(data.decode(errors='replace'))


READERS: dict[str, Callable[[bytes], object]] = {
    'cif': structure('a.cif'),
    'poscar': structure('POSCAR'),
    'extxyz': structure('a.extxyz'),
    'jsonl': structure('a.jsonl'),
    'jsonl_gz': structure('a.jsonl.gz'),
    'structure_json': structure('a.json'),
    'pymatgen_lines': structure('a.pymatgen.jsonl'),
    'optimade': structure('a.optimade.jsonl'),
    'ase_database': structure('a.db'),
    'ase_trajectory': structure('a.traj'),
    'phonopy_yaml': structure('phonopy.yaml'),
    'pw_input': structure('pw.in'),
    'aims_geometry': structure('geometry.in'),
    'crystals_npz': structure('a.npz'),
    'npz_member': npz_member,
    'dataset_npz': dataset('a.npz'),
    'dataset_jsonl': dataset('a.jsonl'),
    'prepared_npz': lambda data: PreparedCrystals.load(io.BytesIO(data)),
    'predictions_npz': lambda data: Predictions.load(io.BytesIO(data)),
    'response_npz': lambda data: DielectricResponse.load(io.BytesIO(data)),
    'properties': properties,
    'splits': lambda data: read_splits('splits.json', data),
    'settings': settings,
    'json': parse_json,
    'model': model,
    'model_card': model_card,
    'training_log': training_log,
    'partial_file': partial_file,
    'outcar': text(read_outcar),
    'dynamical_matrix': text(parse_dynamical_matrix),
    'tensors_xml': text(parse_tensors),
}
"""name → function"""
