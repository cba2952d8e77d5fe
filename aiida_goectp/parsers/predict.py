"""Parser of ``goectp.predict``: from the files of a job to its outputs, or to what went wrong."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from aiida.engine import CalcJob, ExitCode
from aiida.orm import Dict
from aiida.parsers import Parser

from aiida_goectp.calculations.predict import PredictCalculation, shard_rows
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.npzfile import FormatError
from aiida_goectp.predictions import Predictions

__all__ = ('PredictParser',)

_BY_ERROR = {
    'bad_input': 'ERROR_BAD_INPUT',
    'bad_model': 'ERROR_BAD_MODEL',
    'no_device': 'ERROR_NO_DEVICE',
    'out_of_memory': 'ERROR_OUT_OF_MEMORY',
}
_TAIL = 2000


class PredictParser(Parser):
    """Read the status file first: it says whether there is anything else to read."""

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach ``status`` and ``predictions``; return an exit code if anything is wrong."""
        names = self.retrieved.base.repository.list_object_names()
        if PredictCalculation.STATUS not in names:
            return self._code(
                'ERROR_NO_STATUS', message=self._stderr() or 'nothing on stderr; is the code set up right?'
            )
        try:
            status = self._status()
        except ValueError as error:
            return self._code('ERROR_STATUS_BROKEN', message=str(error))
        self.out('status', Dict(status))
        if status['state'] != 'finished':
            return self._unfinished(status)
        if PredictCalculation.OUTPUT not in names:
            return self._code('ERROR_OUTPUT_MISSING')
        return self._predictions()

    def _code(self, label: str, **values: Any) -> ExitCode:
        return self.exit_codes[label].format(**values) if values else self.exit_codes[label]

    def _stderr(self) -> str:
        names = self.retrieved.base.repository.list_object_names()
        if PredictCalculation.STDERR not in names:
            return ''
        content = self.retrieved.base.repository.get_object_content(PredictCalculation.STDERR, mode='rb')
        return content.decode(errors='replace')[-_TAIL:].strip()

    def _status(self) -> dict[str, Any]:
        """Return the checked status file.

        :raises ValueError: it is broken; the message says how
        """
        content = self.retrieved.base.repository.get_object_content(PredictCalculation.STATUS, mode='rb')
        try:
            status = json.loads(content)
        except ValueError as error:
            raise ValueError(f'no JSON ({error})') from error
        if not isinstance(status, dict) or status.get('version') != 1:
            raise ValueError('not a status file of version 1; code and plugin must be of the same version')
        missing = {'state', 'rows_done', 'rows_total', 'error'} - set(status)
        if missing:
            raise ValueError(f'without {", ".join(sorted(missing))}')
        return status

    def _unfinished(self, status: dict[str, Any]) -> ExitCode:
        """Say why a job did not finish; what the scheduler saw helps where the executable had no time to speak."""
        rows = {'done': status['rows_done'], 'total': status['rows_total']}
        if status['state'] == 'interrupted':
            return self._code('ERROR_INTERRUPTED', **rows)
        if status['state'] == 'failed':
            error = status['error'] or {}
            label = _BY_ERROR.get(error.get('code', ''), 'ERROR_INTERNAL')
            return self._code(label, message=error.get('message') or self._stderr())
        if self.node.exit_status == CalcJob.spec().exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY.status:
            return self._code('ERROR_OUT_OF_MEMORY', message='the scheduler killed the job')
        if self.node.exit_status == CalcJob.spec().exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME.status:
            return self._code('ERROR_INTERRUPTED', **rows)
        return self._code('ERROR_KILLED', **rows)

    def _predictions(self) -> ExitCode | None:
        """Attach the predictions if they are those of the crystals and of the model."""
        content = self.retrieved.base.repository.get_object_content(PredictCalculation.OUTPUT, mode='rb')
        try:
            predictions = Predictions.load(io.BytesIO(content))
        except FormatError as error:
            return self._code('ERROR_OUTPUT_BROKEN', message=str(error))
        complaint = self._compare_rows(predictions)
        if complaint:
            return self._code('ERROR_ROWS_DO_NOT_MATCH', message=complaint)
        wanted = self.node.inputs.model.content_hash
        if predictions.model_hash != wanted:
            return self._code('ERROR_MODEL_DOES_NOT_MATCH', message=f'{predictions.model_hash}, not {wanted}')
        self.out('predictions', PredictionsData(predictions))
        failed, total = int(predictions.failed.sum()), len(predictions)
        if failed > self.node.inputs.max_failed_fraction.value * total:
            return self._code('ERROR_TOO_MANY_FAILED_ROWS', failed=failed, total=total)
        return None

    def _compare_rows(self, predictions: Predictions) -> str:
        """Return where predictions and crystals part, empty if they do not."""
        inputs = self.node.inputs
        start, stop = shard_rows(inputs.crystals, inputs.shard if 'shard' in inputs else None)
        if len(predictions) != stop - start:
            return f'{len(predictions)} rows for {stop - start} crystals'
        crystals = inputs.crystals.crystals.take(range(start, stop))
        for name, have, want in (
            ('id', predictions.ids, crystals.ids),
            ('hash', predictions.hashes, crystals.hashes),
        ):
            different = np.flatnonzero(have != want)
            if len(different):
                row = int(different[0])
                return f'row {start + row} has the {name} {have[row]}, the crystal {want[row]}'
        return ''
