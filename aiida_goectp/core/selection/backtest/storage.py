"""Folder of a backtest: settings, one JSON line for each round, the model in use, and results.

``settings.json``            identity of the backtest; a folder belongs to one backtest
``ACQUISITION/seed-N.jsonl`` one line for each round, the first one for the start
``ACQUISITION/seed-N-R``     model in use after round R, for the last round only
``start-seed-N``             starting model of a seed
``results.json``             discovery curves and numbers of labels
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida_goectp.core.crystals.compiled.software import changes
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.formats.storage import replacing
from aiida_goectp.core.selection.backtest.loop import Pruned, RoundRecord
from aiida_goectp.core.selection.history import Round

__all__ = ('BacktestStore',)


class BacktestStore:
    """Files of a backtest; each file is replaced atomically.

    :param path: folder, made if it does not exist
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def results(self) -> Path:
        """Path of the results."""
        return self.path / 'results.json'

    def claim(self, identity: Mapping[str, Any]) -> bool:
        """Reserve the folder for a backtest, and return whether it contains this backtest already.

        :param identity: plain JSON, everything that determines the results
        :raises FormatError: the folder contains another backtest or other files, or cannot be made
        """
        file, wanted = self.path / 'settings.json', json.loads(json.dumps(dict(identity)))
        if file.exists():
            try:
                found = parse_json(file.read_bytes(), str(file))
            except FormatError as error:
                raise FormatError(f'{error}; give another folder') from error
            if found != wanted:
                names = sorted({*found, *wanted} if isinstance(found, dict) else wanted)
                differ = [name for name in names if not isinstance(found, dict) or found.get(name) != wanted.get(name)]
                if differ == ['software'] and 'software' in wanted:  # rounds of both would be one result
                    before = found.get('software')
                    changed = changes(before if isinstance(before, dict) else {}, wanted['software'])
                    raise FormatError(f'{self.path} contains a backtest by {changed}; give another folder')
                raise FormatError(
                    f'{self.path} contains a backtest with another {", ".join(differ)}; give another folder'
                )
            return True
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise FormatError(f'{self.path} contains other files; give an empty or a new folder')
            _replace(file, (json.dumps(wanted, indent=1) + '\n').encode())
        except OSError as error:
            raise FormatError(f'{self.path}: the folder cannot be made ({error.strerror})') from error
        return False

    def records(self, acquisition: str, seed: int) -> list[RoundRecord]:
        """Return the completed rounds of a campaign; an incomplete last line is ignored.

        :raises FormatError: an invalid line
        """
        file = self._records(acquisition, seed)
        lines = enumerate(_complete_lines(file).splitlines(), start=1)
        return [_read_record(text, f'{file}, line {place}') for place, text in lines]

    def add(self, acquisition: str, seed: int, record: RoundRecord, model: bytes) -> None:
        """Store a round and the model in use after it."""
        file, number = self._records(acquisition, seed), len(self.records(acquisition, seed))
        file.parent.mkdir(parents=True, exist_ok=True)
        # the model is written first: each line has a model
        _replace(self._model(acquisition, seed, number), model)
        _replace(file, _complete_lines(file) + (json.dumps(record.as_json()) + '\n').encode())
        for other in file.parent.glob(f'seed-{seed}-*'):
            if other != self._model(acquisition, seed, number):
                other.unlink()

    def model(self, acquisition: str, seed: int) -> bytes:
        """Return the model in use after the last completed round.

        :raises FormatError: the file is missing
        """
        file = self._model(acquisition, seed, len(self.records(acquisition, seed)) - 1)
        try:
            return file.read_bytes()
        except OSError as error:
            raise FormatError(f'{file}: cannot be read ({error.strerror}); give another folder') from error

    def start_model(self, seed: int) -> bytes | None:
        """Return the starting model of a seed, None if it is not trained yet."""
        file = self.path / f'start-seed-{seed}'
        return file.read_bytes() if file.exists() else None

    def keep_start_model(self, seed: int, model: bytes) -> None:
        """Store the starting model of a seed."""
        _replace(self.path / f'start-seed-{seed}', model)

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write the results."""
        _replace(self.results, (json.dumps(dict(results), indent=1) + '\n').encode())

    def _records(self, acquisition: str, seed: int) -> Path:
        return self.path / re.sub(r'[^\w.=,-]', '_', acquisition) / f'seed-{seed}.jsonl'

    def _model(self, acquisition: str, seed: int, number: int) -> Path:
        return self._records(acquisition, seed).with_name(f'seed-{seed}-{number}')


def _complete_lines(file: Path) -> bytes:
    content = file.read_bytes() if file.exists() else b''
    return content[: content.rfind(b'\n') + 1]


def _read_record(text: bytes, where: str) -> RoundRecord:
    try:
        values = parse_json(text)
        completed = None if values['round'] is None else read_settings(Round, values['round'], 'round')
        pruned = None if 'pruned' not in values else Pruned(**values['pruned'])
        return RoundRecord(
            int(values['labels']), int(values['found']), completed, int(values.get('predicted', 0)), pruned
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise FormatError(f'{where}: not a round of a backtest ({error}); give another folder') from error


def _replace(file: Path, content: bytes) -> None:
    with replacing(file) as stream:
        stream.write(content)
