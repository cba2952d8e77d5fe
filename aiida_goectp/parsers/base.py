"""Base class of the parsers of the executable ``goectp``."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from aiida.engine import CalcJob, ExitCode
from aiida.parsers import Parser

from aiida_goectp.calculations.base import ExecutableCalculation
from aiida_goectp.core.executable.status import EXIT_STATUS
from aiida_goectp.core.formats.json_input import parse_json
from aiida_goectp.core.formats.training_log import json_safe

__all__ = ('ExecutableParser',)

_TAIL = 2000
_MAX_STATUS = 2**20
"""bytes of a status file"""
_CANNOT_WRITE = 'goectp: cannot_write: '
"""begins the error message of the executable"""
_SCHEDULER_MESSAGES = (
    (re.compile(r'exceeded .*memory limit|oom[-_ ]kill', re.IGNORECASE), 'ERROR_OUT_OF_MEMORY'),
    (re.compile(r'cancelled at .* due to time limit', re.IGNORECASE), 'ERROR_INTERRUPTED'),
)
"""what Slurm writes to the stderr of a job that it kills, and the label of the exit code"""


class ExecutableParser(Parser):
    """Base of parsers that read the status file of the executable."""

    _CALCULATION: ClassVar[type[ExecutableCalculation]]
    _BY_ERROR: ClassVar[dict[str, str]] = {
        'bad_input': 'ERROR_BAD_INPUT',
        'bad_model': 'ERROR_BAD_MODEL',
        'no_device': 'ERROR_NO_DEVICE',
        'out_of_memory': 'ERROR_OUT_OF_MEMORY',
        'cannot_write': 'ERROR_CANNOT_WRITE',
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
        """Return the content of the status file, or an exit code if it is missing, empty or invalid."""
        stderr = self._stderr()
        if self._CALCULATION.STATUS not in self._names():
            label = 'ERROR_CANNOT_WRITE' if _CANNOT_WRITE in stderr else 'ERROR_NO_STATUS'
            return self._code(label, message=stderr or 'stderr is empty; check the setup of the code')
        if not self._content(self._CALCULATION.STATUS):  # the executable could create, but not fill it
            return self._code('ERROR_CANNOT_WRITE', message=stderr or 'the status file is empty; is the disk full?')
        try:
            return self._checked_status()
        except ValueError as error:
            return self._code('ERROR_STATUS_BROKEN', message=str(error))

    def _checked_status(self) -> dict[str, Any]:
        content = self._content(self._CALCULATION.STATUS)
        if len(content) > _MAX_STATUS:
            raise ValueError(f'{len(content)} bytes; {_MAX_STATUS} are allowed')
        status = json_safe(parse_json(content, 'status'))
        if not isinstance(status, dict) or status.get('version') != 1:
            raise ValueError('not a status file of version 1; install equal versions of executable and plugin')
        missing = {'state', self._DONE, self._TOTAL, 'error'} - set(status)
        if missing:
            raise ValueError(f'missing keys: {", ".join(sorted(missing))}')
        for name in (self._DONE, self._TOTAL):
            if not isinstance(status[name], int):
                raise ValueError(f'{name}: expected a whole number, found {status[name]!r:.40}')
        if not isinstance(status['error'], dict | None):
            raise ValueError('error: expected an object')
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
        if self._exit_status() == EXIT_STATUS['cannot_write']:  # nothing could be written, not even the status
            return self._code('ERROR_CANNOT_WRITE', message=self._stderr() or f'{units["done"]} are finished')
        label = self._scheduler_verdict()
        if label == 'ERROR_OUT_OF_MEMORY':
            return self._code(label, message='the scheduler killed the job')
        return self._code(label, **units)

    def _scheduler_verdict(self) -> str:
        """Return the label of the reason for which the job was killed, as far as the scheduler states it."""
        codes = CalcJob.spec().exit_codes
        if self.node.exit_status == codes.ERROR_SCHEDULER_OUT_OF_MEMORY.status:
            return 'ERROR_OUT_OF_MEMORY'
        if self.node.exit_status == codes.ERROR_SCHEDULER_OUT_OF_WALLTIME.status:
            return 'ERROR_INTERRUPTED'
        # aiida-core reads the first line only, which may be one of the environment that the job script loads
        stderr: str | None = self.node.get_scheduler_stderr()
        end = (stderr or '')[-_TAIL:]
        return next((label for pattern, label in _SCHEDULER_MESSAGES if pattern.search(end)), 'ERROR_KILLED')

    def _exit_status(self) -> int | None:
        """Return the exit status of the job script, where the scheduler records it, as sacct of Slurm does."""
        details = self.node.get_detailed_job_info() or {}
        lines = [line.split('|') for line in str(details.get('stdout', '')).splitlines()]
        if len(lines) < 2 or 'ExitCode' not in lines[0]:
            return None
        place = lines[0].index('ExitCode')
        status = lines[1][place].partition(':')[0] if len(lines[1]) > place else ''
        return int(status) if status.isdecimal() else None
