"""Base class of the jobs that run the executable ``goectp``."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida import orm
from aiida.common import CodeInfo
from aiida.engine import CalcJob
from aiida.engine.processes.process_spec import CalcJobProcessSpec

from aiida_goectp import __version__
from aiida_goectp.calculations.broker import LostConnectionMixin

__all__ = ('ExecutableCalculation', 'code_error', 'device_error', 'time_limit', 'validate_device', 'validate_positive')

_DEVICES = ('auto', 'cpu', 'cuda')


def validate_device(value: orm.Str | None, _: Any) -> str | None:
    """Return an error for an unknown device."""
    return None if value is None else device_error(value.value)


def device_error(name: str) -> str | None:
    """Return an error for the name of an unknown device."""
    if name in _DEVICES or name.removeprefix('cuda:').isdigit():
        return None
    return f'unknown device {name!r}; give auto, cpu, cuda or cuda:N'


def validate_positive(value: orm.Int | None, _: Any) -> str | None:
    """Return an error for a number that is not positive."""
    return None if value is None or value.value > 0 else f'{value.value} is not positive; give a number above zero'


def code_error(code: orm.AbstractCode, *plugins: str) -> str | None:
    """Return an error for a code that was set up for another program, by its default plugin; one without is accepted.

    :param plugins: entry points of jobs; each also stands for those that begin with it and a dot
    """
    found = code.default_calc_job_plugin
    if not found or any(found == name or found.startswith(f'{name}.') for name in plugins):
        return None
    return (
        f'{code.full_label} is a code of the plugin {found}, expected {" or ".join(plugins)}; list the codes with '
        '`verdi code list`'
    )


def validate_code(value: orm.AbstractCode | None, _: Any) -> str | None:
    """Return an error for a code of another program."""
    return None if value is None else code_error(value, 'goectp')


class ExecutableCalculation(LostConnectionMixin, CalcJob):
    """Base of jobs that run one command of ``goectp``: device, time limit, exit codes.

    The executable works in units (rows or epochs). Finished units are kept in the working folder: a new job continues
    an interrupted or killed one if it gets the ``remote_folder`` of that job as ``parent_folder``.
    """

    CACHE_VERSION = __version__  # type: ignore[assignment]
    """part of the hash for caching, which ignores the version of the plugin otherwise"""
    OUTPUT: ClassVar[str]
    STATUS: ClassVar[str]
    STDOUT = 'goectp.out'
    STDERR = 'goectp.err'
    _PARSER: ClassVar[str]
    _UNIT: ClassVar[str]
    _CODES: ClassVar[tuple[tuple[int, str, str], ...]] = ()
    """exit codes of the subclass: number, label, message"""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define inputs and exit codes that the subclasses share."""
        super().define(spec)
        spec.inputs['code'].validator = validate_code
        spec.input(
            'device',
            valid_type=orm.Str,
            default=lambda: orm.Str('auto'),
            serializer=orm.to_aiida_type,
            validator=validate_device,
            help='auto (a GPU if available), cpu, cuda or cuda:N.',
        )
        spec.input(
            'parent_folder',
            valid_type=orm.RemoteData,
            required=False,
            help=f'Working folder of an interrupted job with the same inputs, whose {cls._UNIT} are reused.',
        )
        spec.input('metadata.options.parser_name', valid_type=str, default=cls._PARSER, help='The parser.')
        spec.input('metadata.options.withmpi', valid_type=bool, default=False, help='Whether to run with MPI.')
        resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        spec.input(
            'metadata.options.resources',
            valid_type=dict,
            default=lambda: dict(resources),
            help='One process.',
        )
        cls._define_exit_codes(spec)

    @classmethod
    def _define_exit_codes(cls, spec: CalcJobProcessSpec) -> None:
        """Define 2xx for refused inputs and 3xx for failed runs; a new run may succeed, so none is cached."""
        progress = f'after {{done}} of {{total}} {cls._UNIT}, which are kept.'
        codes = (
            (211, 'ERROR_BAD_MODEL', 'The executable refused the model: {message}'),
            (310, 'ERROR_NO_STATUS', 'The executable did not start, or wrote no status file: {message}'),
            (311, 'ERROR_STATUS_BROKEN', 'The status file cannot be read: {message}'),
            (320, 'ERROR_NO_DEVICE', 'The requested device is not available: {message}'),
            (322, 'ERROR_INTERRUPTED', f'The time limit was reached {progress}'),
            (323, 'ERROR_KILLED', f'The executable was killed {progress}'),
            (324, 'ERROR_INTERNAL', 'The executable failed: {message}'),
            (327, 'ERROR_CANNOT_WRITE', 'The working folder cannot be written to; what is there is kept: {message}'),
            *cls._CODES,
        )
        for number, label, message in codes:
            spec.exit_code(number, label, message=message, invalidates_cache=True)

    def _code_info(self, *arguments: str) -> CodeInfo:
        """Return the command line with these arguments, and with device, time limit and threads of the job."""
        # --wait: a job that was submitted twice, since the daemon was killed in between, does not disturb the first one
        line = [*arguments, '--quiet', '--wait', '--device', self.inputs.device.value]
        wallclock = self.inputs.metadata.options.get('max_wallclock_seconds', None)
        if wallclock is not None:
            line += ['--time-limit', str(time_limit(wallclock))]
        cores = self.inputs.metadata.options.resources.get('num_cores_per_mpiproc', None)
        if cores is not None:
            line += ['--threads', str(cores)]
        info = CodeInfo()
        info.code_uuid = self.inputs.code.uuid
        info.cmdline_params = line
        info.stdout_name = self.STDOUT
        info.stderr_name = self.STDERR
        return info

    def _from_parent(self, *names: str) -> list[tuple[str, str, str]]:
        """Return the copy instructions for files of ``parent_folder``, empty without one."""
        if 'parent_folder' not in self.inputs:
            return []
        parent = self.inputs.parent_folder
        return [(parent.computer.uuid, f'{parent.get_remote_path()}/{name}', name) for name in names]


def time_limit(wallclock: int) -> int:
    """Return the seconds after which the executable stops by itself, early enough to write its results.

    :param wallclock: seconds after which the scheduler kills the job
    """
    return max(1, wallclock - min(120, max(10, wallclock // 10)), wallclock // 2)
