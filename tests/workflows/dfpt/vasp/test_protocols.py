"""Inputs of the VASP engine: protocols, functionals, magnetism, potentials and invalid inputs."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.dfpt.vasp.workchain import VaspDfptWorkChain, _notes
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.workflows.dfpt.vasp.nodes import instantiate


def _rocksalt(cation, anion, edge=4.2, kind=None):
    half = edge / 2
    structure = orm.StructureData(cell=[[0, half, half], [half, 0, half], [half, half, 0]])
    structure.append_atom(position=(0, 0, 0), symbols=cation, name=kind or cation)
    structure.append_atom(position=(half, half, half), symbols=anion)
    return structure


@pytest.fixture
def build(aiida_profile, replay_code, potcar_family):
    """Return a function that returns a builder."""
    family = potcar_family('Mg_pv', 'Mg', 'O', 'Ni_pv', 'S', 'Fe_pv')

    def make(structure=None, protocol=None, overrides=None, **more):
        structure = structure or _rocksalt('Mg', 'O')
        more = {'potential_family': family, **more}
        return VaspDfptWorkChain.get_builder_from_protocol(replay_code(), structure, protocol, overrides, **more)

    return make


def _incars(builder):
    return builder.dfpt.parameters['incar'], builder.relaxation.vasp.parameters['incar']


@pytest.mark.parametrize(
    ('cation', 'arguments', 'name'),
    [
        ('Mg', {}, 'PBEsol'),
        ('Mg', {'functional': 'PBE+U'}, 'PBE'),
        ('Fe', {'functional': 'PBEsol+U'}, 'PBEsol+U(Fe-d 5.3)'),
        ('Mg', {'overrides': {'incar': {'ivdw': 12}}}, 'PBEsol+D3(BJ)'),
    ],
)
def test_functional_is_known_before_the_run(build, cation, arguments, name):
    inputs = builder_inputs(build(_rocksalt(cation, 'O'), **arguments))
    assert VaspDfptWorkChain.functional_of(inputs) == name


@pytest.mark.parametrize(
    ('protocol', 'cutoff', 'ediff'), [('fast', 520, 1e-6), (None, 600, 1e-7), ('stringent', 700, 1e-8)]
)
def test_protocols(build, protocol, cutoff, ediff):
    builder = build(protocol=protocol)
    for incar in _incars(builder):
        assert (incar['encut'], incar['ediff']) == (cutoff, ediff)
        assert (incar['gga'], incar['ismear'], incar['ispin']) == ('ps', 0, 1)
        assert 'ncore' not in incar
        assert incar['nelm'] >= 200
    response, relaxation = _incars(builder)
    assert (response['lepsilon'], response['ibrion'], response['nsw']) == (True, 8, 1)
    assert 'lepsilon' not in relaxation
    assert 'ibrion' not in relaxation
    assert 'magmom_mapping' not in builder.dfpt
    assert instantiate(VaspDfptWorkChain, builder_inputs(builder)) is not None


def test_protocols_get_denser(build):
    spacings = [build(protocol=name).dfpt.kpoints_spacing.value for name in ('fast', 'balanced', 'stringent')]
    assert spacings == sorted(spacings, reverse=True)
    assert list(VaspDfptWorkChain.get_available_protocols()) == ['fast', 'balanced', 'stringent']
    assert VaspDfptWorkChain.get_default_protocol() == 'balanced'


def test_functionals(build):
    assert [incar['gga'] for incar in _incars(build(functional='PBE'))] == ['pe', 'pe']
    assert [incar['gga'] for incar in _incars(build(overrides={'functional': 'PBE'}))] == ['pe', 'pe']
    with pytest.raises(ValueError, match=r'B3LYP.*PBEsol, PBE, PBEsol\+U, PBE\+U'):
        build(functional='B3LYP')


def test_overrides_of_incar_tags_take_precedence(build):
    builder = build(_rocksalt('Ni', 'O'), overrides={'incar': {'gga': 'am', 'ispin': 1}})
    assert [(incar['gga'], incar['ispin']) for incar in _incars(builder)] == [('am', 1), ('am', 1)]


def test_hubbard_and_magnetism(build):
    builder = build(_rocksalt('Ni', 'O'), functional='PBE+U')
    assert builder.dfpt.ldau_mapping['mapping'] == {'Ni': ['d', 6.2]}
    assert builder.relaxation.vasp.magmom_mapping.get_dict() == {'Ni': 5.0, 'O': 0.6, 'default': 0.6}
    assert [incar['ispin'] for incar in _incars(builder)] == [2, 2]
    assert 'ldau_mapping' not in build(_rocksalt('Ni', 'S'), functional='PBE+U').dfpt  # no oxide, no fluoride
    assert 'ldau_mapping' not in build(_rocksalt('Mg', 'O'), functional='PBE+U').dfpt
    assert 'ldau_mapping' not in build(_rocksalt('Ni', 'O'), functional='PBE').dfpt


def test_potentials_are_mapped_for_kinds_and_elements(build):
    """Structures parsed from VASP outputs have elements as kinds."""
    builder = build(_rocksalt('Fe', 'O', kind='Fe1'))
    assert builder.dfpt.potential_mapping.get_dict() == {'Fe': 'Fe_pv', 'O': 'O', 'Fe1': 'Fe_pv'}
    assert builder.dfpt.magmom_mapping['Fe1'] == 5.0


def test_potential_mapping(build):
    mappings = [
        build(potential_mapping={'Mg': 'Mg'}).dfpt.potential_mapping,
        build(overrides={'potential_mapping': {'Mg': 'Mg'}}).relaxation.vasp.potential_mapping,
    ]
    assert [mapping['Mg'] for mapping in mappings] == ['Mg', 'Mg']


def test_missing_potentials_are_named(build):
    with pytest.raises(ValueError, match='nowhere'):
        build(potential_family='nowhere')
    with pytest.raises(ValueError, match='KrXe'):
        build(_rocksalt('Kr', 'Xe'))  # not uploaded by any other test


def test_options_apply_to_all_jobs(build):
    builder = build(options={'queue_name': 'long', 'max_wallclock_seconds': 100, 'resources': {'num_machines': 2}})
    for job in (builder.dfpt, builder.relaxation.vasp):
        options = job.calc.metadata.options
        assert (options['queue_name'], options['max_wallclock_seconds']) == ('long', 100)
        assert options['resources'] == {'num_machines': 2}


def test_overrides_are_merged_and_unknown_keys_refused(build):
    overrides = {
        'incar': {'kpar': 4},
        'relax': False,
        'relaxation': {'vasp': {'parameters': {'incar': {'ncore': 4}}}},
        'dfpt': {'calc': {'metadata': {'options': {'account': 'me'}}}},
    }
    builder = build(overrides=overrides)
    response, relaxation = _incars(builder)
    assert (response['kpar'], relaxation['kpar'], relaxation['ncore']) == (4, 4, 4)
    assert 'ncore' not in response
    assert builder.relax.value is False
    assert builder.dfpt.calc.metadata.options['account'] == 'me'
    with pytest.raises(ValueError, match=r'dfpt\.parametrs: unknown input .*encutt: unknown input'):
        build(overrides={'encutt': 3, 'dfpt': {'parametrs': {}}})
    with pytest.raises(ValueError, match=r'options\.queue: unknown input .*queue_name'):
        build(options={'queue': 'long'})
    with pytest.raises(ValueError, match=r'functional: .*PBEsoll'):
        build(functional='PBEsoll')


@pytest.mark.parametrize(
    'pattern',
    [
        *('POTCAR', './POT*', '[P]OTCAR', 'POTCAR/', 'sub/../POTCAR', '*', '**', '*/', '../*', ['*', '.', 1]),
        *('', '.', './', './.', 'sub/..', '..', '../', '../[0-9a-f]*', '/', '/scratch/job', ['.', '.', 0]),
    ],
)
def test_potcar_is_not_retrieved(pattern):
    for place in ('dfpt.settings', 'relaxation.vasp.settings'):
        check = VaspDfptWorkChain._CHECKS[place]
        (message,) = check(place, {'ADDITIONAL_RETRIEVE_LIST': ['CONTCAR', pattern]})
        assert place in message
        allowed = ['CONTCAR', 'sub/WAVE*', '..x', 3, []]
        assert list(check(place, {'ADDITIONAL_RETRIEVE_LIST': allowed, 'parser_settings': {}})) == []


def test_a_charged_cell_is_refused(build):
    for overrides in ({'incar': {'NELECT': 17}}, {'dfpt': {'parameters': {'incar': {'nelect': 17}}}}):
        with pytest.raises(ValueError, match=r'incar\.(?i:nelect): '):
            build(overrides=overrides)


def test_ncore_is_refused_in_the_response(build):
    with pytest.raises(ValueError, match='NCORE'):
        build(overrides={'incar': {'ncore': 4}})


def test_relaxation_requires_its_inputs(build):
    inputs = builder_inputs(build())
    inputs.pop('relaxation')
    with pytest.raises(ValueError, match=r'relaxation\.vasp'):
        instantiate(VaspDfptWorkChain, inputs)
    inputs['relax'] = orm.Bool(False)
    assert instantiate(VaspDfptWorkChain, inputs).setup() is None


def test_electronic_only_switches_the_ionic_part_off(build):
    builder = build(overrides={'electronic_only': True, 'relax': False})
    process = instantiate(VaspDfptWorkChain, builder_inputs(builder))
    process.setup()
    incar = process.dfpt_process()[1].parameters['incar']
    assert incar['ibrion'] == -1
    assert 'nsw' not in incar
    assert incar['lepsilon'] is True


def test_notes_list_changed_tags():
    requested = {'ibrion': 8, 'nelm': 200, 'algo': 'normal', 'isym': 2}
    assert _notes(requested, requested) == []
    used = {'ibrion': -1, 'nelm': 400, 'algo': 'all'}
    ionic, tags = _notes(requested, used)
    assert 'electronic part only' in ionic
    assert tags.endswith(': ALGO = all, ISYM = default, NELM = 400')
