"""The conformance checks on the table engine, and on engines that break one rule each."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.data.crystals import crystal_from_structure, structure_from_crystal
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.dfpt.conformance import (
    ROTATION,
    ConformanceError,
    Rule,
    check_builder,
    check_engine,
    check_failure,
    check_interface,
    check_refusals,
    check_response,
)
from aiida_goectp.workflows.dfpt.rotation import rotate_structure
from tests.conftest import textbook
from tests.workflows.dfpt.table_engine import TableDfptWorkChain, key_of, response_of, stretch

FACTOR = 1.02


@pytest.fixture(scope='module')
def wurtzite(empty_profile):
    return structure_from_crystal(textbook()[5]).store()


@pytest.fixture
def table(responses):
    return deepcopy(responses)


@pytest.fixture(scope='module')
def responses(wurtzite):
    """The response of wurtzite AlN in both orientations, as given and relaxed."""
    electronic, ionic = np.diag([4.9, 4.9, 4.7]), np.diag([3.7, 3.7, 4.8])
    charges = np.array([2.5, 2.5, -2.5, -2.5])[:, None, None] * np.diag([1.0, 1.0, 1.1])
    rows = {}
    for rotation in (np.eye(3), ROTATION):
        structure = rotate_structure(wurtzite, rotation) if rotation is ROTATION else wurtzite
        row = {
            'electronic': (rotation @ electronic @ rotation.T).tolist(),
            'ionic': (rotation @ ionic @ rotation.T).tolist(),
            'born_charges': (rotation @ charges @ rotation.T).tolist(),
            'frequencies': [0.0] * 3 + [10.0] * 9,
            'band_gap': 4.0,
            'max_force': 0.0,
        }
        rows |= {key_of(structure): row, key_of(stretch(structure, orm.Float(FACTOR))): row}
    return rows


def test_table_engine_conforms(wurtzite, table):
    node = check_engine(TableDfptWorkChain, wurtzite, {'table': table, 'factor': FACTOR}, relax=True)
    assert node.outputs.quality['label'] == 'accepted'


def test_table_engine_fails_with_a_declared_exit_code(wurtzite):
    assert check_failure(TableDfptWorkChain, wurtzite, {'table': {}}).exit_status == 402


def test_an_isotropic_crystal_is_refused(wurtzite, table):
    for row in table.values():
        row['electronic'] = (5 * np.eye(3)).tolist()
    with pytest.raises(ValueError, match='rotation'):
        check_response(TableDfptWorkChain, wurtzite, {'table': table})


@calcfunction
def given_cell_response(structure, relaxed, answer):
    """Return the response with the structure that was given, whatever was relaxed."""
    values = answer.get_dict()
    crystal = crystal_from_structure('given', structure)
    return DielectricData(DielectricResponse(crystal, np.array(values['electronic']), band_gap=4.0))


class GivenCell(TableDfptWorkChain):
    def collect_dielectric(self):
        return given_cell_response(self.inputs.structure, self.ctx.structure, self.ctx.last.outputs.answer)


@calcfunction
def fixed_frame_response(structure, answer):
    """Return a response whose tensor has always the same elements, whatever the orientation of the cell."""
    crystal = crystal_from_structure('fixed', structure)
    tensor = np.diag([4.9, 4.9, 4.7])
    return DielectricData(DielectricResponse(crystal, tensor, ionic=tensor, band_gap=4.0))


class FixedFrame(TableDfptWorkChain):
    def collect_dielectric(self):
        return fixed_frame_response(self.ctx.structure, self.ctx.last.outputs.answer)


class WithoutProvenance(TableDfptWorkChain):
    def collect_dielectric(self):
        node = response_of(self.ctx.structure, self.inputs.electronic_only, answer=self.ctx.last.outputs.answer)
        return DielectricData(node.dielectric).store()


class WithoutProcesses(TableDfptWorkChain):
    def collect_dielectric(self):
        answer = orm.Dict(self.ctx.last.outputs.answer.get_dict())
        return response_of(self.ctx.structure, self.inputs.electronic_only, answer=answer)


class NeverIonic(TableDfptWorkChain):
    def collect_dielectric(self):
        return response_of(self.ctx.structure, orm.Bool(True), answer=self.ctx.last.outputs.answer)


class AlwaysIonic(TableDfptWorkChain):
    def collect_dielectric(self):
        return response_of(self.ctx.structure, orm.Bool(False), answer=self.ctx.last.outputs.answer)


class WithoutCheckpoint(TableDfptWorkChain):
    def inspect_dfpt(self):
        self.ctx.rows = (row for row in range(3))
        return super().inspect_dfpt()


class NoCost(TableDfptWorkChain):
    @classmethod
    def core_hours(cls, node):
        return 1.0


@pytest.mark.parametrize(
    ('engine', 'rule'),
    [
        (GivenCell, Rule.CELL),
        pytest.param(FixedFrame, Rule.FRAME, marks=pytest.mark.slow),
        (WithoutProvenance, Rule.PROVENANCE),
        pytest.param(WithoutProcesses, Rule.PROVENANCE, marks=pytest.mark.slow),
        pytest.param(NeverIonic, Rule.OUTPUTS, marks=pytest.mark.slow),
        pytest.param(AlwaysIonic, Rule.ELECTRONIC_ONLY, marks=pytest.mark.slow),
        pytest.param(WithoutCheckpoint, Rule.CHECKPOINT, marks=pytest.mark.slow),
        pytest.param(NoCost, Rule.CORE_HOURS, marks=pytest.mark.slow),
    ],
)
def test_a_broken_run_is_found(wurtzite, table, engine, rule):
    relax = engine is GivenCell
    with pytest.raises(ConformanceError) as caught:
        check_response(engine, wurtzite, {'table': table, 'factor': FACTOR}, relax=relax)
    assert caught.value.rule is rule


class Random(TableDfptWorkChain):
    @classmethod
    def get_builder_from_protocol(cls, structure, table):
        builder = super().get_builder_from_protocol(structure, table)
        builder.seconds = orm.Float(np.random.default_rng().random())
        return builder


def test_settings_that_differ_at_each_call_are_found(wurtzite, table):
    with pytest.raises(ConformanceError) as caught:
        check_response(Random, wurtzite, {'table': table})
    assert caught.value.rule is Rule.REUSE


class CodeInTheWrongRange(TableDfptWorkChain):
    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.exit_code(450, 'ERROR_OF_THE_ENGINE', message='no')


class OtherInput(TableDfptWorkChain):
    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input('thresholds', valid_type=orm.Int)


class WithoutBuilder(TableDfptWorkChain):
    get_builder_from_protocol = None


class WithoutProtocolArgument(TableDfptWorkChain):
    _PROTOCOL_FILE = 'dfpt_vasp.yaml'


@pytest.mark.parametrize(
    ('engine', 'rule'),
    [
        (orm.Dict, Rule.INTERFACE),
        (OtherInput, Rule.INTERFACE),
        (CodeInTheWrongRange, Rule.EXIT_CODES),
        (WithoutBuilder, Rule.BUILDER),
        (WithoutProtocolArgument, Rule.PROTOCOLS),
    ],
)
def test_a_broken_interface_is_found(engine, rule):
    with pytest.raises(ConformanceError) as caught:
        check_interface(engine)
    assert caught.value.rule is rule


class AcceptsEverything(TableDfptWorkChain):
    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.inputs['structure'].validator = None


class AnyArgument(TableDfptWorkChain):
    @classmethod
    def get_builder_from_protocol(cls, structure, table, **_):
        return super().get_builder_from_protocol(structure, table)


class Incomplete(TableDfptWorkChain):
    @classmethod
    def get_builder_from_protocol(cls, structure, table):
        builder = cls.get_builder()
        builder.structure = structure
        return builder


def test_an_engine_that_accepts_a_slab_is_found(aiida_profile):
    with pytest.raises(ConformanceError) as caught:
        check_refusals(AcceptsEverything)
    assert caught.value.rule is Rule.REFUSAL


@pytest.mark.parametrize('engine', [AnyArgument, Incomplete])
def test_a_broken_builder_is_found(wurtzite, table, engine):
    with pytest.raises(ConformanceError) as caught:
        check_builder(engine, wurtzite, {'table': table})
    assert caught.value.rule is Rule.BUILDER


class Raises(TableDfptWorkChain):
    def dfpt_process(self):
        raise RuntimeError('broken')


def test_a_run_that_ends_without_an_exit_code_is_found(wurtzite, table):
    with pytest.raises(ConformanceError) as caught:
        check_failure(TableDfptWorkChain, wurtzite, {'table': table})
    assert caught.value.rule is Rule.FAILURE


def test_a_step_that_raises_ends_with_an_exit_code(wurtzite, table):
    check_failure(Raises, wurtzite, {'table': table})
