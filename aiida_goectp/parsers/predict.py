"""Parser of ``goectp.predict``."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from aiida.engine import ExitCode
from aiida.orm import Dict

from aiida_goectp.calculations.predict import PredictCalculation, shard_rows
from aiida_goectp.core.dielectric.predictions import Predictions
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.data.predictions import PredictionsData
from aiida_goectp.parsers.base import ExecutableParser

__all__ = ('PredictParser',)


class PredictParser(ExecutableParser):
    """Parser of predictions, which must belong to the crystals and the model of the job."""

    _CALCULATION = PredictCalculation

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach ``status`` and ``predictions``; return an exit code after a failure."""
        status = self._status()
        if isinstance(status, ExitCode):
            return status
        self.out('status', Dict(status))
        if status['state'] != 'finished':
            return self._unfinished(status)
        if PredictCalculation.OUTPUT not in self._names():
            return self._code('ERROR_OUTPUT_MISSING')
        return self._predictions()

    def _predictions(self) -> ExitCode | None:
        """Attach the predictions if they belong to the crystals and the model."""
        try:
            predictions = Predictions.load(io.BytesIO(self._content(PredictCalculation.OUTPUT)))
        except FormatError as error:
            return self._code('ERROR_OUTPUT_BROKEN', message=str(error))
        difference = self._compare_rows(predictions)
        if difference:
            return self._code('ERROR_ROWS_DO_NOT_MATCH', message=difference)
        wanted = self.node.inputs.model.content_hash
        if predictions.model_hash != wanted:
            return self._code('ERROR_MODEL_DOES_NOT_MATCH', message=f'{predictions.model_hash}, not {wanted}')
        self.out('predictions', PredictionsData(predictions))
        failed, total = int(predictions.failed.sum()), len(predictions)
        if failed > self.node.inputs.max_failed_fraction.value * total:
            return self._code('ERROR_TOO_MANY_FAILED_ROWS', failed=failed, total=total)
        return None

    def _compare_rows(self, predictions: Predictions) -> str:
        """Return the first difference between the rows of predictions and crystals, empty without one."""
        inputs = self.node.inputs
        start, stop = shard_rows(inputs.crystals, inputs.shard if 'shard' in inputs else None)
        if len(predictions) != stop - start:
            return f'{len(predictions)} rows for {stop - start} crystals'
        with inputs.crystals.open_rows() as rows:
            crystals = rows.rows(start, stop)
        for name, have, want in (
            ('id', predictions.ids, crystals.ids),
            ('hash', predictions.hashes, crystals.hashes),
        ):
            different = np.flatnonzero(have != want)
            if len(different):
                row = int(different[0])
                return f'row {start + row}: {name} of the prediction {have[row]}, of the crystal {want[row]}'
        return ''
