"""``goectp.predict``: prediction of the dielectric tensors of many crystals in one job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine.processes.process_spec import CalcJobProcessSpec

from aiida_goectp.calculations.base import ExecutableCalculation, validate_positive
from aiida_goectp.calculations.structures import to_crystals
from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData, to_model
from aiida_goectp.data.predictions import PredictionsData

__all__ = ('PredictCalculation', 'shard_rows', 'validate_fraction', 'without_properties')


def shard_rows(crystals: CrystalsData, shard: Mapping[str, orm.Int] | None) -> tuple[int, int]:
    """Return the first row of a shard, and the row after the last one.

    :param shard: ``start`` and ``stop``, both optional
    """
    shard = shard or {}
    start = shard['start'].value if 'start' in shard else 0
    stop = shard['stop'].value if 'stop' in shard else len(crystals)
    return start, stop


def validate_fraction(value: orm.Float | None, _: Any) -> str | None:
    """Return an error for a number that is not a fraction."""
    return None if value is None or 0 <= value.value <= 1 else f'{value.value} is not a number from 0 to 1'


def validate_phonons(inputs: Mapping[str, Any]) -> str | None:
    """Return an error if phonons are asked of a model without force constants."""
    wanted, model = inputs.get('phonons'), inputs.get('model')
    if wanted is None or model is None or not wanted.value or model.card.preset == 'force_constants':
        return None
    return f'phonons: model {model.card.name} has preset {model.card.preset}; they need one of preset force_constants'


def validate_inputs(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Return an error for an empty set of crystals, an invalid shard, or phonons of a model without them."""
    if error := validate_phonons(inputs):
        return error
    crystals = inputs.get('crystals')
    if crystals is None:  # a work chain that exposes the port provides it later
        return None
    if len(crystals) == 0:
        return 'crystals: the node contains none; `aiida-goectp show PK` lists its failures'
    start, stop = shard_rows(crystals, inputs.get('shard'))
    if not 0 <= start < stop <= len(crystals):
        return f'shard: rows {start} to {stop} are not within the {len(crystals)} crystals'
    return None


class PredictCalculation(ExecutableCalculation):
    """Run ``goectp predict`` on a set of crystals, or on a shard of it.

    Finished rows are kept in ``predictions.npz.partial`` in the working folder. A new job continues an interrupted or
    killed one if it gets the ``remote_folder`` of that job as ``parent_folder``.
    """

    INPUT = 'crystals.npz'
    MODEL = 'model.safetensors'
    OUTPUT = 'predictions.npz'
    STATUS = 'predictions.npz.status.json'
    PARTIAL = 'predictions.npz.partial'
    PREPARED = 'prepared.npz'
    _PARSER = 'goectp.predict'
    _UNIT = 'rows'
    _CODES = (
        (210, 'ERROR_BAD_INPUT', 'The executable refused the crystals: {message}'),
        (312, 'ERROR_OUTPUT_MISSING', 'The executable finished without a file of predictions.'),
        (313, 'ERROR_OUTPUT_BROKEN', 'The file of predictions cannot be read: {message}'),
        (314, 'ERROR_ROWS_DO_NOT_MATCH', 'The predictions belong to other crystals: {message}'),
        (315, 'ERROR_MODEL_DOES_NOT_MATCH', 'The predictions belong to another model: {message}'),
        (321, 'ERROR_OUT_OF_MEMORY', 'The memory is too small for the smallest batch: {message}'),
    )

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input('crystals', valid_type=CrystalsData, serializer=to_crystals, help='The crystals.')
        spec.input('model', valid_type=ModelData, serializer=to_model, help='The model.')
        spec.input(
            'batch_atoms',
            valid_type=orm.Int,
            required=False,
            serializer=orm.to_aiida_type,
            validator=validate_positive,
            help='Number of atoms in one batch; determined by the executable if not given.',
        )
        spec.input(
            'max_failed_fraction',
            valid_type=orm.Float,
            default=lambda: orm.Float(1.0),
            serializer=orm.to_aiida_type,
            validator=validate_fraction,
            help='Fraction of failed rows above which the job fails; its outputs are attached.',
        )
        spec.input(
            'phonons',
            valid_type=orm.Bool,
            required=False,
            serializer=orm.to_aiida_type,
            help='Whether to predict phonons at Γ as well, some kilobytes per crystal; no if not given.',
        )
        cls._define_preparation(spec)
        spec.input_namespace('shard', required=False, help='Rows to compute; all of them if not given.')
        for name, meaning in (('start', 'First row, from 0.'), ('stop', 'The row after the last one.')):
            spec.input(f'shard.{name}', valid_type=orm.Int, required=False, serializer=orm.to_aiida_type, help=meaning)
        spec.inputs.validator = validate_inputs

        spec.output('predictions', valid_type=PredictionsData, help='One row for each crystal, in their order.')
        spec.output(
            'status',
            valid_type=orm.Dict,
            required=False,
            help='Status of the executable: rows, device, speed.',
        )
        spec.default_output_node = 'status'
        spec.exit_code(
            410,
            'ERROR_TOO_MANY_FAILED_ROWS',
            message='{failed} of {total} rows failed, more than allowed; the predictions are attached.',
        )

    @classmethod
    def _define_preparation(cls, spec: CalcJobProcessSpec) -> None:
        """Define the inputs by which the crystals are prepared once for several jobs."""
        spec.input(
            'keep_prepared',
            valid_type=orm.Bool,
            required=False,
            serializer=orm.to_aiida_type,
            help='Whether to keep the preparation of the crystals in the working folder, half a kilobyte a crystal, '
            'for later jobs with the same crystals; no if not given.',
        )
        spec.input(
            'prepared',
            valid_type=orm.RemoteData,
            required=False,
            help='Working folder of a job that kept the preparation of the same crystals, which is read there. If it '
            'is not there, or does not fit, the crystals are prepared again, with the same results.',
        )

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the crystals of the shard; return what to copy, run and retrieve."""
        crystals = self.inputs.crystals
        start, stop = shard_rows(crystals, self.inputs.get('shard'))
        calcinfo = CalcInfo()
        calcinfo.local_copy_list = [(self.inputs.model.uuid, ModelData.FILE, self.MODEL)]
        if (start, stop) == (0, len(crystals)):
            calcinfo.local_copy_list.append((crystals.uuid, CrystalsData.FILE, self.INPUT))
        else:
            with folder.open(self.INPUT, 'wb') as stream, crystals.open_rows() as rows:
                without_properties(rows.rows(start, stop)).save(stream)
            # the shard is determined by the inputs: no second copy in the repository
            calcinfo.provenance_exclude_list = [self.INPUT]
        arguments = ['predict', self.INPUT, '--model', self.MODEL, '--output', self.OUTPUT]
        if 'batch_atoms' in self.inputs:
            arguments += ['--batch-atoms', str(self.inputs.batch_atoms.value)]
        if 'phonons' in self.inputs and self.inputs.phonons.value:
            arguments.append('--phonons')
        if self._keeps():
            arguments += ['--keep-prepared', self.PREPARED]  # reads the file if it is there and fits
        calcinfo.codes_info = [self._code_info(*arguments)]
        calcinfo.retrieve_list = [self.OUTPUT, self.STATUS, self.STDOUT, self.STDERR]
        partials = [self.PARTIAL, f'{self.PREPARED}.partial'] if self._keeps() else [self.PARTIAL]
        calcinfo.remote_copy_list = self._from_parent(*partials)
        folder_before = self.inputs.get('prepared', None)
        if folder_before is not None and folder_before.computer.uuid == self.inputs.code.computer.uuid:
            path = f'{folder_before.get_remote_path()}/{self.PREPARED}'
            calcinfo.remote_symlink_list = [(folder_before.computer.uuid, path, self.PREPARED)]
        return calcinfo

    def _keeps(self) -> bool:
        """Return whether a preparation is read, or kept."""
        return 'prepared' in self.inputs or ('keep_prepared' in self.inputs and self.inputs.keep_prepared.value)


def without_properties(crystals: CrystalSet) -> CrystalSet:
    """Return crystals without property columns, which a prediction does not need."""
    columns = (crystals.lattices, crystals.atom_offsets, crystals.atomic_numbers, crystals.fractional_positions)
    return CrystalSet(*columns, crystals.ids)
