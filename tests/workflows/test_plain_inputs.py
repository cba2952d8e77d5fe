"""Inputs of every process: plain Python values, and what people have as crystals, structures and models."""

from __future__ import annotations

import pytest
from aiida import orm
from aiida.engine.processes.ports import PortNamespace
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_goectp.core.crystals.convert import to_ase
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.pymatgen_convert import to_pymatgen
from aiida_goectp.workflows.predict import PredictWorkChain
from aiida_goectp.workflows.screen import ScreenWorkChain

WORK_CHAINS = (
    *('active_learning', 'dfpt.quantumespresso', 'dfpt.vasp', 'evaluate', 'predict', 'retrain', 'screen', 'train'),
    *('train.committee', 'verify'),
)
JOBS = ('predict', 'train')
PLAIN = {orm.Bool: True, orm.Dict: {'a': 1}, orm.Float: 0.5, orm.Int: 1, orm.List: [1], orm.Str: 'a'}


def ports(namespace, path=''):
    """Yield the path and the port of each input that is a node."""
    for name, port in namespace.items():
        if name == 'metadata':
            continue
        if isinstance(port, PortNamespace):
            yield from ports(port, f'{path}{name}.')
        elif not port.non_db:
            yield f'{path}{name}', port


@pytest.mark.usefixtures('aiida_profile')
@pytest.mark.parametrize('name', [*(f'workflow {name}' for name in WORK_CHAINS), *(f'job {name}' for name in JOBS)])
def test_inputs_take_plain_values(name, crystal_set, write_model):
    kind, _, entry_point = name.partition(' ')
    process = (WorkflowFactory if kind == 'workflow' else CalculationFactory)(f'goectp.{entry_point}')
    atoms, path = to_ase(crystal_set[0]), write_model()
    values = {
        **PLAIN,
        CrystalsData: [atoms],
        DatasetData: Dataset(crystal_set),
        ModelData: path,
        orm.StructureData: atoms,
    }
    found = set()
    for where, port in ports(process.spec().inputs):
        types = port.valid_type if isinstance(port.valid_type, tuple) else (port.valid_type,)
        for node_type, value in values.items():
            if node_type in types and not (node_type is orm.StructureData and '.' in where):  # not in those of others
                assert isinstance(port.serialize(value), node_type), where
                found.add(node_type)
    assert found & {CrystalsData, DatasetData, ModelData, orm.StructureData}


def test_builders_take_what_people_have(crystal_set, write_model, aiida_code_installed):
    path, code = write_model(), aiida_code_installed(label='any', filepath_executable='/bin/true')
    structures = [to_pymatgen(crystal_set[0]), to_ase(crystal_set[1])]
    builder = PredictWorkChain.get_builder_from_protocol(code, structures, str(path))
    assert builder.goectp['crystals'].crystals.ids.tolist() == ['Si2', 'MgO']
    assert builder.goectp['model'].content_hash == ModelData(path).content_hash
    stored = orm.StructureData(ase=structures[1]).store()
    builder = ScreenWorkChain.get_builder_from_protocol(code, stored, path)
    assert builder.crystals.creator.inputs['crystals_00000'].pk == stored.pk
    builder.filters = {'max_atoms': 3}
    assert isinstance(builder.filters, orm.Dict)
