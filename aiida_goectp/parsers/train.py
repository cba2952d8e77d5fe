"""Parser of ``goectp.train``."""

from __future__ import annotations

from typing import Any

from aiida.engine import ExitCode
from aiida.orm import ArrayData, Dict

from aiida_goectp.calculations.monitors import seen_by_monitors
from aiida_goectp.calculations.train import TrainCalculation
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.training_log import TrainingLog, json_safe
from aiida_goectp.data.model import ModelData
from aiida_goectp.parsers.base import ExecutableParser

__all__ = ('TrainParser',)


class TrainParser(ExecutableParser):
    """Parser of a training; the history is attached also if the training did not finish."""

    _CALCULATION = TrainCalculation
    _BY_ERROR = {**ExecutableParser._BY_ERROR, 'diverged': 'ERROR_DIVERGED'}
    _DONE, _TOTAL = 'epochs_done', 'epochs_total'

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach ``history``, ``output_parameters`` and ``model``; return an exit code after a failure."""
        status = self._status()
        if isinstance(status, ExitCode):
            return status
        names = self._names()
        log = TrainingLog.parse(self._content(TrainCalculation.LOG)) if TrainCalculation.LOG in names else TrainingLog()
        if len(log):
            self.out('history', _history(log))
        model, code = None, self._failure(status, log)
        if code is None:
            model, code = self._model(names)
        parameters = {**status, 'seconds': sum(line.get('seconds') or 0.0 for line in log.lines)}
        if model is not None:
            parameters['metrics'] = model.card.metrics
            self.out('model', model)
        self.out('output_parameters', Dict(json_safe(parameters)))
        return code

    def _failure(self, status: dict[str, Any], log: TrainingLog) -> ExitCode | None:
        """Return the exit code of a training that did not finish, None if it did."""
        if status['state'] == 'finished':
            return None
        failure = seen_by_monitors(self.node, log) if status['state'] != 'failed' else None
        if failure is not None:
            label = {'diverged': 'ERROR_DIVERGED', 'plateau': 'ERROR_PLATEAU'}[failure.kind]
            return self._code(label, message=failure.message)
        return self._unfinished(status)

    def _model(self, names: list[str]) -> tuple[ModelData | None, ExitCode | None]:
        """Return the model if it matches the settings.

        It is always a new node, even if an equal one is stored, so that its creator is this job.
        """
        if TrainCalculation.OUTPUT not in names:
            return None, self._code('ERROR_OUTPUT_MISSING')
        try:
            with self.retrieved.base.repository.as_path(TrainCalculation.OUTPUT) as path:
                model = ModelData(path)
        except FormatError as error:
            return None, self._code('ERROR_OUTPUT_BROKEN', message=str(error))
        given = {'members': self.node.inputs.model.card.members} if 'model' in self.node.inputs else {'members': 1}
        wanted = (given | self.node.inputs.settings.get_dict())['members']
        if model.card.members != wanted:
            message = f'{model.card.members} members, not {wanted}'
            return None, self._code('ERROR_MODEL_DOES_NOT_MATCH', message=message)
        return model, None


def _history(log: TrainingLog) -> ArrayData:
    history = ArrayData()
    for name, column in log.columns().items():
        history.set_array(name, column)
    return history
