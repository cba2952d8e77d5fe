"""A complete DFPT engine that reads responses from a table, with a job or without.

It is an example for further engines, and replaces a DFT code in tests.
"""

import json

import numpy as np
from aiida import orm
from aiida.common import CalcInfo, CodeInfo
from aiida.engine import CalcJob, WorkChain, calcfunction

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.dfpt.base import DfptWorkChain

NAME = f'{__name__}:TableDfptWorkChain'
"""Name of the engine for ``load_engine``."""


def key_of(structure):
    """Return the content hash of a structure's crystal, the key of the table."""
    return str(CrystalSet.from_crystals([crystal_from_structure('x', structure)]).hashes[0])


class ReadTable(WorkChain):
    """Read the response from the table within the work chain."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData)
        spec.input('table', valid_type=orm.Dict)
        spec.output('answer', valid_type=orm.Dict)
        spec.exit_code(310, 'ERROR_NO_ANSWER', message='The table has no answer.')
        spec.outline(cls.look_up)

    def look_up(self):
        if key_of(self.inputs.structure) not in self.inputs.table.get_dict():
            return self.exit_codes.ERROR_NO_ANSWER
        self.out('answer', take_answer(self.inputs.structure, self.inputs.table))
        return None


class ReadTableJob(CalcJob):
    """Read the response from the table with a job that sleeps first."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData)
        spec.input('table', valid_type=orm.Dict)
        spec.input('seconds', valid_type=orm.Float)
        spec.inputs['metadata']['options']['resources'].default = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}

    def prepare_for_submission(self, folder):
        answer = self.inputs.table.get_dict().get(key_of(self.inputs.structure))
        if answer is not None:
            with folder.open('answer.json', 'w') as stream:
                json.dump(answer, stream)
        info = CodeInfo(
            {'code_uuid': self.inputs.code.uuid, 'cmdline_params': ['-c', f'sleep {self.inputs.seconds.value}']}
        )
        return CalcInfo({'codes_info': [info], 'retrieve_list': ['answer.json']})


@calcfunction
def take_answer(structure, table):
    return orm.Dict(table[key_of(structure)])


@calcfunction
def response_of(structure, electronic_only, answer=None, retrieved=None):
    """Return the response of a table row, from a node or from the file of a job; missing entries are unknown."""
    values = json.loads(retrieved.get_object_content('answer.json')) if answer is None else answer.get_dict()
    if electronic_only.value:
        values |= {'ionic': None, 'frequencies': None}
    arrays = {
        name: None if values.get(name) is None else np.array(values[name], dtype=float)
        for name in ('electronic', 'ionic', 'born_charges', 'frequencies')
    }
    return DielectricData(
        DielectricResponse(
            crystal_from_structure(structure.get_formula('hill_compact'), structure),
            **arrays,
            band_gap=values.get('band_gap'),
            max_force=values.get('max_force'),
            scf_converged=values.get('scf_converged', True),
            engine='table',
            functional=values.get('functional', 'PBE'),
            settings=values.get('settings', {}),
        )
    )


@calcfunction
def stretch(structure, factor):
    """Return the structure with its cell scaled, as a relaxation might do."""
    stretched = orm.StructureData(cell=(np.array(structure.cell) * factor.value).tolist())
    for site in structure.sites:
        position = (np.array(site.position) * factor.value).tolist()
        stretched.append_atom(position=position, symbols=structure.get_kind(site.kind_name).symbol)
    return stretched


class Stretch(WorkChain):
    """Relaxation that scales the cell."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('structure', valid_type=orm.StructureData)
        spec.input('factor', valid_type=orm.Float)
        spec.output('structure', valid_type=orm.StructureData, required=False)
        spec.exit_code(310, 'ERROR_NEGATIVE_FACTOR', message='The factor is negative.')
        spec.outline(cls.relax)

    def relax(self):
        if self.inputs.factor.value < 0:
            return self.exit_codes.ERROR_NEGATIVE_FACTOR
        if self.inputs.factor.value > 0:
            self.out('structure', stretch(self.inputs.structure, self.inputs.factor))
        return None


@calcfunction
def gap_of(answer):
    return orm.Float(answer['band_gap'])


class TableDfptWorkChain(DfptWorkChain):
    """Responses from a table: with a code from a job, else within the work chain."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('table', valid_type=orm.Dict)
        spec.input('factor', valid_type=orm.Float, default=lambda: orm.Float(1.0))
        spec.input('seconds', valid_type=orm.Float, default=lambda: orm.Float(0.0))
        spec.input('code', valid_type=orm.AbstractCode, required=False)

    @classmethod
    def get_builder_from_protocol(cls, structure, table, code=None, relax=False, factor=1.0, seconds=0.0):
        if 'Xe' in structure.get_symbols_set():
            raise ValueError('no potential for Xe')
        builder = cls.get_builder()
        builder.structure, builder.table = structure, orm.Dict(table)
        builder.factor, builder.seconds, builder.relax = orm.Float(factor), orm.Float(seconds), orm.Bool(relax)
        if code is not None:
            builder.code = code
        return builder

    def relax_process(self):
        return Stretch, {'structure': self.ctx.structure, 'factor': self.inputs.factor}

    def relaxed_structure(self, node):
        if 'structure' not in node.outputs:
            raise ValueError('no structure in the outputs')
        return node.outputs.structure

    def dfpt_process(self):
        inputs = {'structure': self.ctx.structure, 'table': self.inputs.table}
        if 'code' not in self.inputs:
            return ReadTable, inputs
        return ReadTableJob, inputs | {'code': self.inputs.code, 'seconds': self.inputs.seconds}

    def inspect_dfpt(self):
        code = super().inspect_dfpt()
        if code is None and 'answer' in self.ctx.last.outputs and 'electronic' not in self.ctx.last.outputs.answer:
            self.ctx.band_gap = gap_of(self.ctx.last.outputs.answer)
        return code

    def collect_dielectric(self):
        outputs = self.ctx.last.outputs
        if 'answer' in outputs:
            return response_of(self.ctx.structure, self.inputs.electronic_only, answer=outputs.answer)
        if 'answer.json' not in outputs.retrieved.list_object_names():
            raise ValueError('no answer.json in the retrieved files')
        return response_of(self.ctx.structure, self.inputs.electronic_only, retrieved=outputs.retrieved)
