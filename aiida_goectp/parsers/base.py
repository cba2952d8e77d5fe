"""What the parsers of all jobs of the executable ``goectp`` have in common: reading what it says of itself."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from aiida.engine import CalcJob, ExitCode
from aiida.parsers import Parser

from aiida_goectp.calculations.base import ExecutableCalculation

__all__ = ('ExecutableParser',)

_TAIL = 2000


class ExecutableParser(Parser):
    """Read the status file first: it says whether there is anything else to read."""

    _CALCULATION: ClassVar[type[ExecutableCalculation]]
    _BY_ERROR: ClassVar[dict[str, str]] = {
        'bad_input': 'ERROR_BAD_INPUT',
        'bad_model': 'ERROR_BAD_MODEL',
        'no_device': 'ERROR_NO_DEVICE',
        'out_of_memory': 'ERROR_OUT_OF_MEMORY',
    }
    """label of the exit code for each error code of the executable"""
    _DONE, _TOTAL = 'rows_done', 'rows_total'
    """fields of the status that say how far the job is"""

    def _code(self, label: str, **values: Any) -> ExitCode:
        return self.exit_codes[label].format(**values) if values else self.exit_codes[label]

    def _names(self) -> list[str]:
        return list(self.retrieved.base.repository.list_object_names())

    def _content(self, name: str) -> bytes:
        return bytes(self.retrieved.base.repository.get_object_content(name, mode='rb'))

    def _stderr(self) -> str:
        if self._CALCULATION.STDERR not in self._names():
            return ''
        return self._content(self._CALCULATION.STDERR).decode(errors='replace')[-_TAIL:].strip()

    def _status(self) -> dict[str, Any] | ExitCode:
        """Return the checked status file, or the exit code that says what is wrong with it."""
        if self._CALCULATION.STATUS not in self._names():
            return self._code(
                'ERROR_NO_STATUS', message=self._stderr() or 'nothing on stderr; is the code set up right?'
            )
        try:
            return self._checked_status()
        except ValueError as error:
            return self._code('ERROR_STATUS_BROKEN', message=str(error))

    def _checked_status(self) -> dict[str, Any]:
        try:
            status = json.loads(self._content(self._CALCULATION.STATUS))
        except ValueError as error:
            raise ValueError(f'no JSON ({error})') from error
        if not isinstance(status, dict) or status.get('version') != 1:
            raise ValueError('not a status file of version 1; code and plugin must be of the same version')
        missing = {'state', self._DONE, self._TOTAL, 'error'} - set(status)
        if missing:
            raise ValueError(f'without {", ".join(sorted(missing))}')
        return status

    def _unfinished(self, status: dict[str, Any]) -> ExitCode:
        """Say why a job did not finish; what the scheduler saw helps where the executable had no time to speak."""
        units = {'done': status[self._DONE], 'total': status[self._TOTAL]}
        if status['state'] == 'interrupted':
            return self._code('ERROR_INTERRUPTED', **units)
        if status['state'] == 'failed':
            error = status['error'] or {}
            label = self._BY_ERROR.get(error.get('code', ''), 'ERROR_INTERNAL')
            return self._code(label, message=error.get('message') or self._stderr())
        if self.node.exit_status == CalcJob.spec().exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY.status:
            return self._code('ERROR_OUT_OF_MEMORY', message='the scheduler killed the job')
        if self.node.exit_status == CalcJob.spec().exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME.status:
            return self._code('ERROR_INTERRUPTED', **units)
        return self._code('ERROR_KILLED', **units)
