"""Base class of the parsers of the executable ``goectp``."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from aiida.engine import CalcJob, ExitCode
from aiida.parsers import Parser

from aiida_goectp.calculations.base import ExecutableCalculation

__all__ = ('ExecutableParser',)

_TAIL = 2000


class ExecutableParser(Parser):
    """Base of parsers that read the status file of the executable."""

    _CALCULATION: ClassVar[type[ExecutableCalculation]]
    _BY_ERROR: ClassVar[dict[str, str]] = {
        'bad_input': 'ERROR_BAD_INPUT',
        'bad_model': 'ERROR_BAD_MODEL',
        'no_device': 'ERROR_NO_DEVICE',
        'out_of_memory': 'ERROR_OUT_OF_MEMORY',
    }
    """label of the exit code for each error code of the executable"""
    _DONE, _TOTAL = 'rows_done', 'rows_total'
    """fields of the status with the numbers of finished units and of all units"""

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
        """Return the content of the status file, or an exit code if it is missing or invalid."""
        if self._CALCULATION.STATUS not in self._names():
            return self._code(
                'ERROR_NO_STATUS', message=self._stderr() or 'stderr is empty; check the setup of the code'
            )
        try:
            return self._checked_status()
        except ValueError as error:
            return self._code('ERROR_STATUS_BROKEN', message=str(error))

    def _checked_status(self) -> dict[str, Any]:
        try:
            status = json.loads(self._content(self._CALCULATION.STATUS))
        except ValueError as error:
            raise ValueError(f'invalid JSON ({error})') from error
        if not isinstance(status, dict) or status.get('version') != 1:
            raise ValueError('not a status file of version 1; install equal versions of executable and plugin')
        missing = {'state', self._DONE, self._TOTAL, 'error'} - set(status)
        if missing:
            raise ValueError(f'missing keys: {", ".join(sorted(missing))}')
        return status

    def _unfinished(self, status: dict[str, Any]) -> ExitCode:
        """Return the exit code of a job that did not finish, by its status and by the exit code of the scheduler."""
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
