"""What all jobs that run the executable ``goectp`` have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida import orm
from aiida.common import CodeInfo
from aiida.engine import CalcJob
from aiida.engine.processes.process_spec import CalcJobProcessSpec

__all__ = ('ExecutableCalculation', 'time_limit', 'validate_device', 'validate_positive')

_DEVICES = ('auto', 'cpu', 'cuda')


def validate_device(value: orm.Str | None, _: Any) -> str | None:
    """Refuse what the executable does not know."""
    if value is None or value.value in _DEVICES or value.value.removeprefix('cuda:').isdigit():
        return None
    return f'device {value.value!r}: give auto, cpu, cuda or cuda:N'


def validate_positive(value: orm.Int | None, _: Any) -> str | None:
    """Refuse zero and less."""
    return None if value is None or value.value > 0 else f'{value.value} is not positive'


class ExecutableCalculation(CalcJob):
    """Run one command of ``goectp``: its device, its time, and the exit codes for what it says of itself.

    The executable works in units (rows, epochs). What is finished stays in the working folder; a job that was
    interrupted or killed goes on there if its ``remote_folder`` is given to the next one as ``parent_folder``.
    """

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
        """Define what the subclasses share."""
        super().define(spec)
        spec.input(
            'device',
            valid_type=orm.Str,
            default=lambda: orm.Str('auto'),
            serializer=orm.to_aiida_type,
            validator=validate_device,
            help='auto (a GPU if there is one), cpu, cuda or cuda:N.',
        )
        spec.input(
            'parent_folder',
            valid_type=orm.RemoteData,
            required=False,
            help=f'Working folder of an interrupted job on the same inputs, to go on from its {cls._UNIT}.',
        )
        spec.input('metadata.options.parser_name', valid_type=str, default=cls._PARSER, help='The parser.')
        spec.input('metadata.options.withmpi', valid_type=bool, default=False, help='GoeCTP runs without MPI.')
        resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        spec.input('metadata.options.resources', valid_type=dict, default=lambda: dict(resources), help='One process.')
        cls._define_exit_codes(spec)

    @classmethod
    def _define_exit_codes(cls, spec: CalcJobProcessSpec) -> None:
        """2xx: an input was refused. 3xx: the run broke; it may succeed another time, so caching must not keep it."""
        kept = f'after {{done}} of {{total}} {cls._UNIT}, which are kept.'
        codes = (
            (211, 'ERROR_BAD_MODEL', 'The executable refused the model: {message}'),
            (310, 'ERROR_NO_STATUS', 'The executable did not start, or wrote no status file: {message}'),
            (311, 'ERROR_STATUS_BROKEN', 'The status file cannot be read: {message}'),
            (320, 'ERROR_NO_DEVICE', 'The device that was asked for is not there: {message}'),
            (322, 'ERROR_INTERRUPTED', f'The time was up {kept}'),
            (323, 'ERROR_KILLED', f'The executable was killed {kept}'),
            (324, 'ERROR_INTERNAL', 'The executable failed: {message}'),
            *cls._CODES,
        )
        for number, label, message in codes:
            spec.exit_code(number, label, message=message, invalidates_cache=True)

    def _code_info(self, *arguments: str) -> CodeInfo:
        """Return how to run a command with these arguments, on the device and within the time of this job."""
        line = [*arguments, '--quiet', '--device', self.inputs.device.value]
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
        """Return what to copy from the working folder of the parent, empty without one."""
        if 'parent_folder' not in self.inputs:
            return []
        parent = self.inputs.parent_folder
        return [(parent.computer.uuid, f'{parent.get_remote_path()}/{name}', name) for name in names]


def time_limit(wallclock: int) -> int:
    """Return after how many seconds the executable stops by itself, so that it can put its results in order.

    :param wallclock: seconds after which the scheduler kills the job
    """
    return max(1, wallclock - min(120, max(10, wallclock // 10)), wallclock // 2)
