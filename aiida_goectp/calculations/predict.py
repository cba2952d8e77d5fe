"""``goectp.predict``: predict the dielectric tensors of many crystals in one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob
from aiida.engine.processes.process_spec import CalcJobProcessSpec

from aiida_goectp.crystals import CrystalSet
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('PredictCalculation', 'shard_rows')

_DEVICES = ('auto', 'cpu', 'cuda')


def shard_rows(crystals: CrystalsData, shard: Mapping[str, orm.Int] | None) -> tuple[int, int]:
    """Return the first row and the row after the last one that a job computes.

    :param shard: ``start`` and ``stop``, either may be missing
    """
    shard = shard or {}
    start = shard['start'].value if 'start' in shard else 0
    stop = shard['stop'].value if 'stop' in shard else len(crystals)
    return start, stop


def validate_device(value: orm.Str | None, _: Any) -> str | None:
    """Refuse what the executable does not know."""
    if value is None or value.value in _DEVICES or value.value.removeprefix('cuda:').isdigit():
        return None
    return f'device {value.value!r}: give auto, cpu, cuda or cuda:N'


def validate_positive(value: orm.Int | None, _: Any) -> str | None:
    """Refuse zero and less."""
    return None if value is None or value.value > 0 else f'{value.value} is not positive'


def validate_fraction(value: orm.Float | None, _: Any) -> str | None:
    """Refuse what is no fraction."""
    return None if value is None or 0 <= value.value <= 1 else f'{value.value} is not between 0 and 1'


def validate_inputs(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Refuse an empty set of crystals and a shard that reaches beyond it."""
    crystals = inputs.get('crystals')
    if crystals is None:  # a work chain that exposes the port fills it later
        return None
    if len(crystals) == 0:
        return 'crystals: the node holds none; look at its failures with `aiida-goectp show PK`'
    start, stop = shard_rows(crystals, inputs.get('shard'))
    if not 0 <= start < stop <= len(crystals):
        return f'shard: rows {start} to {stop} do not lie within the {len(crystals)} crystals'
    return None


class PredictCalculation(CalcJob):
    """Run ``goectp predict`` on a table of crystals, or on a slice of it.

    The job works in rows: what is finished stands in ``predictions.npz.partial`` in its working folder. A job that was
    interrupted or killed goes on there if its ``remote_folder`` is given to the next one as ``parent_folder``.
    """

    INPUT = 'crystals.npz'
    MODEL = 'model.safetensors'
    OUTPUT = 'predictions.npz'
    STATUS = 'predictions.npz.status.json'
    PARTIAL = 'predictions.npz.partial'
    STDOUT = 'goectp.out'
    STDERR = 'goectp.err'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('crystals', valid_type=CrystalsData, help='The crystals.')
        spec.input('model', valid_type=ModelData, help='The model.')
        spec.input(
            'batch_atoms',
            valid_type=orm.Int,
            required=False,
            serializer=orm.to_aiida_type,
            validator=validate_positive,
            help='Atoms put into the network at once; found by the executable itself if not given.',
        )
        spec.input(
            'device',
            valid_type=orm.Str,
            default=lambda: orm.Str('auto'),
            serializer=orm.to_aiida_type,
            validator=validate_device,
            help='auto (a GPU if there is one), cpu, cuda or cuda:N.',
        )
        spec.input(
            'max_failed_fraction',
            valid_type=orm.Float,
            default=lambda: orm.Float(1.0),
            serializer=orm.to_aiida_type,
            validator=validate_fraction,
            help='Fraction of failed rows above which the job counts as failed; its outputs are attached all the same.',
        )
        spec.input_namespace('shard', required=False, help='Rows to compute; all of them if not given.')
        for name, meaning in (('start', 'First row, from 0.'), ('stop', 'The row after the last one.')):
            spec.input(f'shard.{name}', valid_type=orm.Int, required=False, serializer=orm.to_aiida_type, help=meaning)
        spec.input(
            'parent_folder',
            valid_type=orm.RemoteData,
            required=False,
            help='Working folder of an interrupted job on the same crystals and model, to go on from its rows.',
        )
        spec.inputs.validator = validate_inputs
        spec.input('metadata.options.parser_name', valid_type=str, default='goectp.predict', help='The parser.')
        spec.input('metadata.options.withmpi', valid_type=bool, default=False, help='GoeCTP runs without MPI.')
        resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        spec.input('metadata.options.resources', valid_type=dict, default=lambda: dict(resources), help='One process.')

        spec.output('predictions', valid_type=PredictionsData, help='One row for each crystal, in their order.')
        spec.output(
            'status',
            valid_type=orm.Dict,
            required=False,
            help='What the executable says of itself: rows, device, speed.',
        )
        spec.default_output_node = 'status'
        cls._define_exit_codes(spec)

    @classmethod
    def _define_exit_codes(cls, spec: CalcJobProcessSpec) -> None:
        """2xx: an input was refused. 3xx: the run broke; it may succeed another time, so caching must not keep it."""
        codes = (
            (210, 'ERROR_BAD_INPUT', 'The executable refused the crystals: {message}'),
            (211, 'ERROR_BAD_MODEL', 'The executable refused the model: {message}'),
            (310, 'ERROR_NO_STATUS', 'The executable did not start, or wrote no status file: {message}'),
            (311, 'ERROR_STATUS_BROKEN', 'The status file cannot be read: {message}'),
            (312, 'ERROR_OUTPUT_MISSING', 'The executable says that it finished, but left no predictions.'),
            (313, 'ERROR_OUTPUT_BROKEN', 'The file of predictions cannot be read: {message}'),
            (314, 'ERROR_ROWS_DO_NOT_MATCH', 'The predictions are not those of the crystals: {message}'),
            (315, 'ERROR_MODEL_DOES_NOT_MATCH', 'The predictions were made by another model: {message}'),
            (320, 'ERROR_NO_DEVICE', 'The device that was asked for is not there: {message}'),
            (321, 'ERROR_OUT_OF_MEMORY', 'The memory did not suffice, not even for the smallest batch: {message}'),
            (322, 'ERROR_INTERRUPTED', 'The time was up after {done} of {total} rows, which are kept.'),
            (323, 'ERROR_KILLED', 'The executable was killed after {done} of {total} rows, which are kept.'),
            (324, 'ERROR_INTERNAL', 'The executable failed: {message}'),
        )
        for number, label, message in codes:
            spec.exit_code(number, label, message=message, invalidates_cache=True)
        spec.exit_code(
            410,
            'ERROR_TOO_MANY_FAILED_ROWS',
            message='{failed} of {total} rows failed, more than allowed; the predictions are attached all the same.',
        )

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the slice of crystals and say what to copy, run and fetch."""
        crystals = self.inputs.crystals
        start, stop = shard_rows(crystals, self.inputs.get('shard'))
        calcinfo = CalcInfo()
        calcinfo.local_copy_list = [(self.inputs.model.uuid, ModelData._FILE, self.MODEL)]
        if (start, stop) == (0, len(crystals)):
            calcinfo.local_copy_list.append((crystals.uuid, CrystalsData._FILE, self.INPUT))
        else:
            with folder.open(self.INPUT, 'wb') as stream:
                self._slice(crystals.crystals, start, stop).save(stream)
            # the slice follows from the inputs: no second copy of the crystals in the repository
            calcinfo.provenance_exclude_list = [self.INPUT]
        calcinfo.codes_info = [self._code_info()]
        calcinfo.retrieve_list = [self.OUTPUT, self.STATUS, self.STDOUT, self.STDERR]
        if 'parent_folder' in self.inputs:
            parent = self.inputs.parent_folder
            source = f'{parent.get_remote_path()}/{self.PARTIAL}'
            calcinfo.remote_copy_list = [(parent.computer.uuid, source, self.PARTIAL)]
        return calcinfo

    def _code_info(self) -> CodeInfo:
        arguments = ['predict', self.INPUT, '--model', self.MODEL, '--output', self.OUTPUT, '--quiet']
        arguments += ['--device', self.inputs.device.value]
        if 'batch_atoms' in self.inputs:
            arguments += ['--batch-atoms', str(self.inputs.batch_atoms.value)]
        wallclock = self.inputs.metadata.options.get('max_wallclock_seconds', None)
        if wallclock is not None:
            arguments += ['--time-limit', str(time_limit(wallclock))]
        cores = self.inputs.metadata.options.resources.get('num_cores_per_mpiproc', None)
        if cores is not None:
            arguments += ['--threads', str(cores)]
        info = CodeInfo()
        info.code_uuid = self.inputs.code.uuid
        info.cmdline_params = arguments
        info.stdout_name = self.STDOUT
        info.stderr_name = self.STDERR
        return info

    @staticmethod
    def _slice(crystals: CrystalSet, start: int, stop: int) -> CrystalSet:
        """Return the rows without their property columns, which no prediction needs."""
        rows = crystals.take(range(start, stop))
        return CrystalSet(rows.lattices, rows.atom_offsets, rows.atomic_numbers, rows.fractional_positions, rows.ids)


def time_limit(wallclock: int) -> int:
    """Return after how many seconds the executable stops by itself, so that it can put its rows in order.

    :param wallclock: seconds after which the scheduler kills the job
    """
    return max(1, wallclock - min(120, max(10, wallclock // 10)), wallclock // 2)
