"""The folder of a backtest: its settings, one JSON line a round, the model in use, and the results.

``settings.json``            what decides the outcome; a folder belongs to one backtest
``ACQUISITION/seed-N.jsonl`` one line a round, the first before any label is bought
``ACQUISITION/seed-N-R``     the model in use after round R, of the last round alone
``start-seed-N``             the model that the campaigns of a seed begin with
``results.json``             curves and labels needed
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import read_settings
from aiida_goectp.core.selection.backtest.loop import RoundRecord
from aiida_goectp.core.selection.history import Round

__all__ = ('BacktestStore',)


class BacktestStore:
    """The files of a backtest; every file is replaced atomically, or grows by whole lines.

    :param path: made if it is not there
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def results(self) -> Path:
        """Where the results are."""
        return self.path / 'results.json'

    def claim(self, identity: Mapping[str, Any]) -> bool:
        """Take the folder for a backtest, or return true if it is one of this backtest already.

        :param identity: plain JSON, what decides the outcome
        :raises FormatError: it holds something else, or cannot be made
        """
        file, wanted = self.path / 'settings.json', json.loads(json.dumps(dict(identity)))
        if file.exists():
            try:
                found = json.loads(file.read_text())
            except ValueError as error:
                raise FormatError(f'{file}: no JSON ({error}); name another folder') from error
            if found != wanted:
                names = sorted({*found, *wanted} if isinstance(found, dict) else wanted)
                differ = [name for name in names if not isinstance(found, dict) or found.get(name) != wanted.get(name)]
                raise FormatError(
                    f'{self.path} holds a backtest with another {", ".join(differ)}; name another folder, or remove it'
                )
            return True
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise FormatError(f'{self.path} holds other files; name an empty folder, or one that is not there')
            _replace(file, (json.dumps(wanted, indent=1) + '\n').encode())
        except OSError as error:
            raise FormatError(f'{self.path}: no folder can be made there ({error.strerror})') from error
        return False

    def lines(self, acquisition: str, seed: int) -> list[RoundRecord]:
        """Return the rounds of a campaign that are done; a line that was cut off by a kill does not count.

        :raises FormatError: a line that no backtest wrote
        """
        file = self._lines(acquisition, seed)
        if not file.exists():
            return []
        content = file.read_bytes()
        whole = content[: content.rfind(b'\n') + 1]
        return [_line(text, f'{file}, line {place}') for place, text in enumerate(whole.splitlines(), start=1)]

    def add(self, acquisition: str, seed: int, line: RoundRecord, model: bytes) -> None:
        """Keep a round and the model in use after it."""
        file, number = self._lines(acquisition, seed), len(self.lines(acquisition, seed))
        file.parent.mkdir(parents=True, exist_ok=True)
        # the model first: a line says that its model is there
        _replace(self._model(acquisition, seed, number), model)
        content = file.read_bytes() if file.exists() else b''
        whole = content[: content.rfind(b'\n') + 1]
        _replace(file, whole + (json.dumps(line.as_json()) + '\n').encode())
        for other in file.parent.glob(f'seed-{seed}-*'):
            if other != self._model(acquisition, seed, number):
                other.unlink()

    def model(self, acquisition: str, seed: int) -> bytes:
        """Return the model in use after the last round that is done.

        :raises FormatError: it is not there
        """
        file = self._model(acquisition, seed, len(self.lines(acquisition, seed)) - 1)
        try:
            return file.read_bytes()
        except OSError as error:
            raise FormatError(f'{file}: cannot be read ({error.strerror}); name another folder') from error

    def start(self, seed: int) -> bytes | None:
        """Return the model that the campaigns of a seed begin with, None if it is not made yet."""
        file = self.path / f'start-seed-{seed}'
        return file.read_bytes() if file.exists() else None

    def keep_start(self, seed: int, model: bytes) -> None:
        """Keep the model that the campaigns of a seed begin with."""
        _replace(self.path / f'start-seed-{seed}', model)

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write the results."""
        _replace(self.results, (json.dumps(dict(results), indent=1) + '\n').encode())

    def _lines(self, acquisition: str, seed: int) -> Path:
        return self.path / re.sub(r'[^\w.=,-]', '_', acquisition) / f'seed-{seed}.jsonl'

    def _model(self, acquisition: str, seed: int, number: int) -> Path:
        return self._lines(acquisition, seed).with_name(f'seed-{seed}-{number}')


def _line(text: bytes, where: str) -> RoundRecord:
    try:
        values = json.loads(text)
        done = None if values['round'] is None else read_settings(Round, values['round'], 'round')
        return RoundRecord(int(values['labels']), int(values['found']), done)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f'{where}: no round of a backtest ({error}); name another folder') from error


def _replace(file: Path, content: bytes) -> None:
    temporary = file.with_name(file.name + '.writing')
    temporary.write_bytes(content)
    temporary.replace(file)
