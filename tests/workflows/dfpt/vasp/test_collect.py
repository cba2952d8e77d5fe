"""Collection of real VASP outputs, read by the parser of aiida-vasp."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pytest
from aiida import orm
from aiida_vasp.utils.ldau import get_ldau_keys
from ase.io import read as read_ase
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as hypothesis_arrays

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dfpt.errors import CollectError
from aiida_goectp.core.dfpt.vasp_response import dielectric_from_vasp
from aiida_goectp.core.dfpt.vasprun import Vasprun
from aiida_goectp.core.dielectric.gamma_modes import THZ, gamma_modes
from aiida_goectp.core.dielectric.gates import judge
from aiida_goectp.core.dielectric.outcar import read_outcar
from aiida_goectp.workflows.dfpt.vasp.collect import collect_vasp
from tests.core.dfpt.smearing import smeared
from tests.damaged import damaged
from tests.rows import DATA, PHONONDB, read_rows
from tests.workflows.dfpt.vasp.nodes import crystal, replay
from tests.workflows.dfpt.vasp.runs import LENIENT, parse, read

LEPSILON = {'lepsilon': True, 'ibrion': -1, 'encut': 359.7399, 'gga': 'PS', 'nelm': 60}
SI = np.array([[3.348898, 0, 1.933487], [1.116299, 3.157372, 1.933487], [0, 0, 3.866975]])


@pytest.fixture
def runs(shared):
    return shared / 'vasp_outputs'


def _from_vasprun(content):
    return orm.StructureData(ase=read_ase(io.BytesIO(content), format='vasp-xml'))


def _silicon():
    return Crystal('Si2', SI, np.array([14, 14]), np.array([[0.875] * 3, [0.125] * 3]))


def _collect(outputs, structure, incar, **settings):
    names = ('dielectrics', 'born_charges', 'hessian', 'retrieved')
    nodes = {name: outputs[name] for name in names if name in outputs}
    return collect_vasp(
        structure=structure, misc=outputs['misc'], settings=orm.Dict({'incar': incar, **settings}), **nodes
    )


def test_complete_run_without_ionic_part(aiida_profile, aiida_localhost, runs):
    folder = runs / 'zn6p4s16_lepsilon'
    poscar = (folder / 'POSCAR').read_bytes()
    files = {name: (folder / name).read_bytes() for name in ('OUTCAR', 'vasprun.xml')}
    files |= {'vasp_output': b' vasp.5.4.4\n', 'CONTCAR': poscar}
    outputs, status = parse(aiida_localhost, files, LEPSILON)
    structure = orm.StructureData(ase=read_ase(io.StringIO(poscar.decode()), format='vasp'))
    assert status == 0
    node = _collect(outputs, structure, LEPSILON, protocol='balanced')
    found = node.dielectric
    assert np.allclose(found.electronic, np.diag([5.89405614, 5.89405614, 6.17182071]), atol=1e-5)
    assert found.ionic is None
    assert found.born_charges.shape == (26, 3, 3)
    assert np.allclose(found.crystal.lattice, structure.cell)
    assert found.scf_converged
    assert found.band_gap == pytest.approx(2.2305)
    assert found.max_force < 0.1
    assert (found.engine, found.functional) == ('vasp', 'PBEsol')
    assert found.settings['protocol'] == 'balanced'
    assert (found.settings['cutoff'], found.settings['recommended_cutoff']) == (359.7, 276.723)
    assert found.settings['version'].startswith('5.4.4')
    verdict = judge(found)
    assert verdict.label == 'electronic-only', verdict
    assert node.creator.inputs.dielectrics.uuid == outputs['dielectrics'].uuid


def test_rutile_without_outcar(aiida_profile, aiida_localhost, runs):
    content = read(runs / 'sno2_lepsilon' / 'vasprun.xml')
    outputs, _ = parse(aiida_localhost, {'vasprun.xml': content}, LEPSILON, LENIENT)
    found = _collect(outputs, _from_vasprun(content), LEPSILON).dielectric
    assert np.allclose(np.diag(found.electronic), [4.42038879, 4.42038879, 4.77663396])
    assert found.scf_converged
    assert judge(found).label == 'electronic-only'


def test_metal_with_smearing_has_no_gap(aiida_profile, aiida_localhost):
    """aiida-vasp takes the distance between two of its levels for a gap."""
    content = gzip.decompress((DATA / 'finished' / 'sno2' / 'vasprun.xml.gz').read_bytes())
    structure, content = _from_vasprun(content), smeared(content, 4.0)
    outputs, _ = parse(aiida_localhost, {'vasprun.xml': content}, LEPSILON, LENIENT)
    assert outputs['misc']['band_properties']['band_gap'] > 0
    assert _collect(outputs, structure, LEPSILON).dielectric.band_gap == 0
    del outputs['retrieved']
    assert _collect(outputs, structure, LEPSILON).dielectric.band_gap == 0


def test_silicon_has_an_ionic_part_of_zero(aiida_profile, aiida_localhost, runs):
    folder = runs / 'si_ibrion8_lepsilon'
    incar = {'lepsilon': True, 'ibrion': 8, 'nsw': 1, 'encut': 600}
    content = read(folder / 'vasprun.xml.gz')
    files = {
        'OUTCAR': read(folder / 'OUTCAR.gz'),
        'vasprun.xml': content,
        'vasp_output': b' vasp.5.4.1\n',
        'CONTCAR': b'',
    }
    outputs, status = parse(aiida_localhost, files, incar, LENIENT)
    assert status == 0
    found = _collect(outputs, _from_vasprun(content), incar).dielectric
    assert np.allclose(np.diag(found.electronic), 13.23245, atol=1e-4)
    assert np.abs(found.ionic).max() < 1e-6  # the Born charges of silicon are zero
    assert np.allclose(found.frequencies[:3], 0, atol=1e-4)
    assert np.allclose(found.frequencies[3:], 15.4711, atol=2e-3)
    volume = abs(np.linalg.det(found.crystal.lattice))
    modes = gamma_modes(found.force_constants, found.born_charges, np.full(2, 28.085), volume)
    assert np.allclose(modes.frequencies, found.frequencies[3:], atol=1e-3)
    assert found.functional == 'PBE'
    assert 0.4 < found.band_gap < 0.8
    assert judge(found).label == 'accepted', judge(found)


def test_unconverged_silicon_fails_its_gate(aiida_profile, aiida_localhost, runs):
    content = read(runs / 'si_ibrion8_unconverged' / 'vasprun.dfpt.unconverged.xml.gz')
    incar = {'lepsilon': True, 'ibrion': 8, 'nsw': 1, 'nelm': 7}
    outputs, _ = parse(aiida_localhost, {'vasprun.xml': content}, incar, LENIENT)
    found = _collect(outputs, _from_vasprun(content), incar).dielectric
    assert not found.scf_converged
    assert 'NELM = 7' in found.settings['notes'][0]
    verdict = judge(found)
    assert verdict.label == 'refused'
    assert [gate.name for gate in verdict.gates if gate.passed is False] == ['scf_converged']


def test_tensors_are_read_from_outcar_if_vasprun_is_truncated(aiida_profile, aiida_localhost, tmp_path):
    row = read_rows(PHONONDB)['mp-22862']  # NaCl
    files = replay(tmp_path, crystal(row), LEPSILON, 'truncated', ('Na', 'Cl'))
    outputs, status = parse(aiida_localhost, files, LEPSILON)
    assert status == 0  # the parser checks OUTCAR only, which is complete
    assert 'epsilon' not in (outputs['dielectrics'].get_arraynames() if 'dielectrics' in outputs else [])
    found = _collect(outputs, orm.StructureData(ase=crystal(row)), LEPSILON).dielectric
    assert np.allclose(found.electronic, row['eps_electronic'], atol=1e-6)
    assert np.allclose(found.born_charges, row['born'], atol=1e-5)
    assert found.band_gap == pytest.approx(read_outcar(files['OUTCAR'].decode()).band_gap)
    assert 'OUTCAR' in found.settings['notes'][0]


def test_missing_tensor_is_an_error(aiida_profile):
    structure = orm.StructureData(cell=SI.tolist())
    structure.append_atom(position=(0, 0, 0), symbols='Si')
    with pytest.raises(CollectError, match='LEPSILON'):
        collect_vasp(structure=structure, misc=orm.Dict({}), settings=orm.Dict({}))


def test_last_of_stacked_blocks_is_used():
    epsilon = np.vstack([np.eye(3) * value for value in (3.0, 4.0, 5.0)])
    charges = np.concatenate([np.ones((2, 3, 3)), np.zeros((2, 3, 3))])
    found = dielectric_from_vasp(_silicon(), {}, {}, {'epsilon': epsilon, 'born_charges': charges}, {})
    assert np.array_equal(found.electronic, 5 * np.eye(3))
    assert np.array_equal(found.born_charges, np.zeros((2, 3, 3)))


@pytest.mark.parametrize(('charge', 'known'), [(1.9, False), (0.01, True)])
def test_zero_ionic_part_with_charges_is_treated_as_missing(charge, known):
    arrays = {
        'epsilon': 3 * np.eye(3),
        'epsilon_ion': np.full((3, 3), 1e-8),
        'born_charges': np.stack([charge * np.eye(3), -charge * np.eye(3)]),
    }
    found = dielectric_from_vasp(_silicon(), {}, {'incar': {'IBRION': 8}}, arrays, {})
    assert (found.ionic is not None) == known
    assert bool(found.settings.get('notes')) != known


def test_ionic_part_is_ignored_unless_requested():
    arrays = {'epsilon': 3 * np.eye(3), 'epsilon_ion': np.eye(3)}
    assert dielectric_from_vasp(_silicon(), {}, {'incar': {'ibrion': -1}}, arrays, {}).ionic is None
    assert dielectric_from_vasp(_silicon(), {}, {'incar': {'ibrion': 8}}, arrays, {}).ionic is not None


def test_many_converged_loops_count_as_converged():
    """The parser compares the sum of the iterations, 300, with NELM and reports an unconverged run."""
    loop = '\n'.join(f'---- Iteration    1( {i + 1})  ----' for i in range(60)) + '\n EDIFF is reached\n'
    misc = {'run_status': {'electronic_converged': False, 'contains_nelm_breach': True}}
    found = dielectric_from_vasp(_silicon(), misc, {}, {'epsilon': 3 * np.eye(3)}, {'OUTCAR': (5 * loop).encode()})
    assert found.scf_converged


def test_unconverged_ground_state_before_a_converged_response_is_detected():
    """The parser checks the last loop only."""
    ground = '\n'.join(f'---- Iteration    1( {i + 1})  ----' for i in range(60)) + '\n'
    response = '---- Iteration    1(   1)  ----\n---- Iteration    1(   2)  ----\n EDIFF is reached\n'
    misc = {'run_status': {'electronic_converged': True}}
    files = {'OUTCAR': (ground + response).encode()}
    found = dielectric_from_vasp(_silicon(), misc, {}, {'epsilon': 3 * np.eye(3)}, files)
    assert not found.scf_converged
    assert '1 of 2' in found.settings['notes'][0]


def test_imaginary_mode_is_kept_by_the_projection():
    """An imaginary optical mode remains, the translations become zero."""
    spring, drift = -0.4, 0.05
    relative = np.kron(np.array([[1, -1], [-1, 1]]) / 2, np.eye(3))
    together = np.kron(np.ones((2, 2)) / 2, np.eye(3))
    arrays = {'epsilon': 3 * np.eye(3), 'hessian': -(spring * relative + drift * together)}
    found = dielectric_from_vasp(_silicon(), {'version': '5.4.4'}, {}, arrays, {})
    assert np.allclose(found.frequencies[:3], -np.sqrt(0.4) * 15.633302)
    assert np.allclose(found.frequencies[3:], 0, atol=1e-5)


def test_hessian_is_weighted_by_the_masses_of_the_run():
    """They are in vasprun.xml, else in OUTCAR, else standard atomic weights."""
    masses, spring = np.array([20.0, 5.0]), 3.0
    constants = spring * np.kron([[1, -1], [-1, 1]], np.eye(3))
    outcar = b'  POMASS =  20.000; ZVAL = 4.0\n POMASS =   5.000; ZVAL = 4.0\n ions per type =   1   1\n'
    outcar += b'   POMASS =  20.00  5.00\n'
    standard = np.full(2, 28.085)
    for weights, run, files in (
        (masses, Vasprun(masses=masses), {}),
        (masses + 1e-4, Vasprun(masses=masses + 1e-4), {'OUTCAR': outcar}),
        (masses, Vasprun(), {'OUTCAR': outcar}),
        (masses, None, {'OUTCAR': outcar}),
        (standard, Vasprun(masses=np.ones(3)), {}),
        (standard, None, {}),
    ):
        roots = np.repeat(np.sqrt(weights), 3)
        arrays = {'epsilon': 3 * np.eye(3), 'hessian': -constants / np.outer(roots, roots)}
        found = dielectric_from_vasp(_silicon(), {'version': '5.4.4'}, {}, arrays, files, vasprun=run)
        assert np.allclose(found.force_constants, constants)
        assert np.allclose(found.frequencies[3:], THZ * np.sqrt(spring * (1 / weights).sum()))


def test_unit_of_the_hessian_is_determined_from_outcar():
    """VASP 6 writes THz² or eV/Å²/amu."""
    text = read(DATA / 'OUTCAR.si.gz')
    relative = np.kron(np.array([[1, -1], [-1, 1]]) / 2, np.eye(3))
    for value in (15.47108**2, (15.47108 / 15.633302) ** 2):
        arrays = {'epsilon': 3 * np.eye(3), 'hessian': -value * relative}
        found = dielectric_from_vasp(_silicon(), {'version': '6.4.2'}, {}, arrays, {'OUTCAR': text})
        assert np.allclose(found.frequencies[3:], 15.47108, atol=1e-3)
    listed = dielectric_from_vasp(_silicon(), {}, {}, {'epsilon': 3 * np.eye(3)}, {'OUTCAR': text}).frequencies
    assert np.allclose(listed, np.sort(np.where(read_outcar(text.decode()).frequencies > 1, 15.47108, 0)), atol=1e-4)


def test_functional_of_the_potentials_is_read_from_outcar():
    arrays = {'epsilon': 3 * np.eye(3)}
    assert dielectric_from_vasp(_silicon(), {}, {}, arrays, {}).functional == 'unknown'
    for potential, name in (('PE', 'PBE'), ('CA', 'LDA'), ('XX', 'unnamed (gga, metagga, lhfcalc)')):
        files = {'OUTCAR': f'   LEXCH  = {potential}\n'.encode()}
        assert dielectric_from_vasp(_silicon(), {}, {}, arrays, files).functional == name
        assert dielectric_from_vasp(_silicon(), {}, {'incar': {'gga': 'PS'}}, arrays, files).functional == 'PBEsol'


@pytest.mark.parametrize(
    ('kinds', 'sites', 'groups'),
    [
        (('Fe', 'O'), ('Fe', 'Fe', 'O', 'O'), 2),
        (('O', 'Fe'), ('Fe', 'Fe', 'O', 'O'), 2),  # kinds in another order than sites
        (('Fe', 'O'), ('Fe', 'O', 'Fe', 'O'), 4),
        (('Fe1', 'O', 'Fe2'), ('Fe1', 'O', 'Fe2'), 3),
    ],
)
def test_values_of_u_belong_to_the_groups_of_poscar(aiida_profile, kinds, sites, groups):
    """The INCAR is that of aiida-vasp."""
    structure = orm.StructureData(cell=(np.eye(3) * 4).tolist())
    for name in kinds:
        structure.append_kind(orm.Kind(name=name, symbols=name.rstrip('12')))
    for place, name in enumerate(sites):
        structure.append_site(orm.Site(kind_name=name, position=(place, place, place)))
    tags = get_ldau_keys(structure, {'Fe': ['d', 5.3], 'Fe1': ['d', 5.3], 'Fe2': ['d', 5.3]})
    assert len(tags['ldauu']) == groups
    dielectrics = orm.ArrayData()
    dielectrics.set_array('epsilon', 3 * np.eye(3))
    node = collect_vasp(
        structure=structure,
        misc=orm.Dict({}),
        settings=orm.Dict({'incar': {'gga': 'PS', **tags}}),
        dielectrics=dielectrics,
    )
    assert node.dielectric.functional == 'PBEsol+U(Fe-d 5.3)'


DAMAGED = st.one_of(
    st.none(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.floats() | st.none(), max_size=20),
    st.lists(st.lists(st.floats(), min_size=3, max_size=3), max_size=7),
    hypothesis_arrays(
        np.float64, st.sampled_from([(0,), (3, 3), (4, 3), (2, 3, 3), (3, 3, 3), (6, 6), (7, 6), (12, 6)])
    ),
)


@given(
    arrays=st.dictionaries(st.sampled_from(['epsilon', 'epsilon_ion', 'born_charges', 'hessian']), DAMAGED),
    forces=DAMAGED,
    gap=DAMAGED,
    outcar=damaged(read(DATA / 'OUTCAR.si.gz').decode()[-4000:]),
    version=st.sampled_from(['', '5.4.4', '6.4.2']),
)
@settings(max_examples=200)
def test_any_damage_has_a_response_or_a_named_failure(arrays, forces, gap, outcar, version):
    misc = {'forces': forces, 'band_properties': {'band_gap': gap}, 'run_status': None, 'version': version}
    files = {'OUTCAR': outcar.encode(errors='replace'), 'vasprun.xml': b'<calculation>'}
    try:
        found = dielectric_from_vasp(_silicon(), misc, {'incar': {'ibrion': 8}}, arrays, files)
    except CollectError:
        return
    assert judge(found).label in ('accepted', 'electronic-only', 'refused')


@pytest.mark.parametrize(('parsed', 'gap'), [(float('inf'), None), ([0.5], 0.5), ([0.5, 0.6], None)])
def test_gap_is_one_finite_number_or_unknown(parsed, gap):
    """It is infinite without an empty band."""
    misc = {'band_properties': {'band_gap': parsed}}
    assert dielectric_from_vasp(_silicon(), misc, {}, {'epsilon': 3 * np.eye(3)}, {}).band_gap == gap


@pytest.mark.parametrize(('fermi', 'gap'), [(3.0, 0.0), (3.995, 0.5), (4.2, 0.5), (None, 0.5), ('?', 0.5)])
def test_fermi_energy_below_the_highest_filled_level_is_that_of_a_metal(fermi, gap):
    misc = {'band_properties': {'band_gap': 0.5, 'vbm': 4.0, 'cbm': 4.5}, 'fermi_level': fermi}
    assert dielectric_from_vasp(_silicon(), misc, {}, {'epsilon': 3 * np.eye(3)}, {}).band_gap == gap
