"""Collection of the outputs of pw.x and ph.x."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dfpt.espresso_response import OUTPUT, dielectric_from_quantumespresso
from aiida_goectp.core.dielectric.gamma_modes import gamma_modes
from aiida_goectp.core.dielectric.gates import judge
from aiida_goectp.core.formats.errors import FormatError
from tests.damaged import damaged

FILES = Path(__file__).parents[3] / 'data' / 'phx' / 'MgO'
MATRIX, TENSORS = 'DYN_MAT/dynamical-matrix-1', 'tensors.xml'
GROUND_STATE = {
    'dft_exchange_correlation': 'PBESOL',
    'wfc_cutoff': 1142.88,
    'creator_version': '6.7MaX',
    'convergence_info': {'scf_conv': {'convergence_achieved': True}},
}


def crystal(edge=4.212, sites=((0, 0, 0), (0.5, 0.5, 0.5))):
    lattice = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * edge / 2
    return Crystal('MgO', lattice, np.array([12, 8]), np.array(sites, dtype=float))


def files(*names):
    return {name: (FILES / Path(name).name).read_text() for name in names or (MATRIX, TENSORS)}


def collect(which=None, cell=None, forces=None, **settings):
    which = files() if which is None else which
    return dielectric_from_quantumespresso(
        cell or crystal(), which, gap=5.0, forces=forces, ground_state=GROUND_STATE, settings=settings
    )


def test_complete_response_passes_the_gates():
    response = collect(forces=np.array([[0.0, 0.03, 0.04], [0, 0, 0]]), recommended_cutoff=1142.9)
    assert response.total[0, 0] == pytest.approx(10.43, abs=5e-3)
    assert response.max_force == pytest.approx(0.05)
    assert response.functional == 'PBEsol'
    assert response.settings['version'] == '6.7MaX'
    assert judge(response).label == 'accepted'


def test_born_charges_are_stored_as_computed():
    assert np.abs(collect().born_charges.sum(axis=0)).max() == pytest.approx(0.0017, abs=1e-4)


def test_force_constants_give_the_ionic_part_and_the_frequencies():
    response = collect()
    volume = abs(np.linalg.det(response.crystal.lattice))
    charges = response.born_charges - response.born_charges.mean(axis=0)
    modes = gamma_modes(response.force_constants, charges, np.array([24.305, 15.999]), volume)
    np.testing.assert_allclose(modes.contributions.sum(axis=0), response.ionic, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(modes.frequencies, response.frequencies[3:], rtol=1e-3)


def test_low_cutoff_fails_its_gate():
    response = collect(recommended_cutoff=1142.88 * 84 / 50)
    assert 'sufficient_cutoff' in judge(response).reason


def test_electronic_part_only():
    response = collect(files(TENSORS))
    assert response.ionic is None
    assert response.frequencies is None
    assert response.electronic[0, 0] == pytest.approx(3.2356, abs=1e-4)
    assert judge(response).label == 'electronic-only'


def output(unconverged=None, lines=None):
    """Return the output of a run of ph.x, cut, or with another last change of the potential in one linear system."""
    text = gzip.decompress((FILES.parents[1] / 'finished/ibrav0/ph.out.gz').read_bytes()).decode()
    if unconverged is not None:
        assert unconverged in text
        text = text.replace(unconverged, '5.000E-12')
    return '\n'.join(text.splitlines()[:lines])


@pytest.mark.parametrize(
    ('text', 'label'),
    [
        (output(lines=174), 'electronic-only'),  # killed before the first phonon
        (output(lines=186), 'electronic-only'),  # killed within the first phonon
        (output(unconverged='5.553E-15'), 'electronic-only'),  # of the first phonon
        (output(unconverged='1.215E-15'), 'refused'),  # of the field
        (output(lines=150), 'refused'),  # killed within the response to the field
    ],
)
def test_without_phonons_the_response_to_the_field_decides(text, label):
    assert judge(collect(files(TENSORS) | {OUTPUT: text})).label == label


def test_ionic_part_of_unconverged_phonons_is_refused():
    assert judge(collect(files() | {OUTPUT: output(unconverged='5.553E-15')})).label == 'refused'


def test_unconverged_ground_state_is_recorded():
    ground_state = GROUND_STATE | {'convergence_info': {'scf_conv': {'convergence_achieved': False}}}
    response = dielectric_from_quantumespresso(
        crystal(), files(), gap=5.0, forces=None, ground_state=ground_state, settings={}
    )
    assert not response.scf_converged


@pytest.mark.parametrize(
    ('which', 'cell', 'word'),
    [
        ({}, crystal(), 'epsil'),
        (None, crystal(4.3), 'lattice'),
        (None, crystal(sites=((0.5, 0.5, 0.5), (0.1, 0, 0))), 'position'),
        (None, Crystal('Mg', np.eye(3), np.array([12]), np.zeros((1, 3))), '1 atoms, 2'),
    ],
)
def test_files_of_another_cell_are_refused(which, cell, word):
    with pytest.raises(FormatError, match=word):
        collect(which, cell)


def test_functional_is_that_of_both_programs():
    response = collect(ground_state={'SYSTEM': {'vdw_corr': 'dft-d3'}}, response={'INPUTPH': {'lrpa': True}})
    assert response.functional == 'PBEsol+D3+LRPA'


def test_hubbard_corrections_without_values_have_no_name():
    ground_state = GROUND_STATE | {'lda_plus_u_calculation': True}
    response = dielectric_from_quantumespresso(
        crystal(), files(), gap=5.0, forces=None, ground_state=ground_state, settings={}
    )
    assert response.functional == 'unnamed (hubbard_u)'


def test_damaged_matrix_leaves_the_electronic_part():
    whole = files()
    response = collect({**whole, MATRIX: whole[MATRIX][:600]})
    assert response.electronic[0, 0] == pytest.approx(3.2356, abs=1e-4)
    assert response.ionic is None
    assert 'dynamical-matrix-1' in response.settings['notes'][0]


def test_damaged_tensors_are_read_from_the_matrix():
    whole = files()
    response = collect({**whole, TENSORS: whole[TENSORS][:300]})
    assert response.total[0, 0] == pytest.approx(10.43, abs=5e-3)
    assert 'tensors.xml' in response.settings['notes'][0]


def test_damaged_files_are_named():
    with pytest.raises(FormatError, match=r'tensors\.xml.*dynamical-matrix-1'):
        collect({name: text[:300] for name, text in files().items()})


@pytest.mark.parametrize('forces', [np.full((2, 3), np.nan), np.zeros((0, 2, 3)), np.full((2, 3), np.inf), np.eye(3)])
def test_damaged_forces_are_unknown(forces):
    assert collect(forces=forces).max_force is None


def test_last_forces_are_used():
    assert collect(forces=np.stack([np.eye(3)[:2], np.zeros((2, 3))])).max_force == 0


@given(data=st.data())
def test_any_damage_has_a_response_or_a_named_failure(data):
    names = data.draw(st.sampled_from(((MATRIX,), (TENSORS,), (MATRIX, TENSORS))))
    try:
        response = collect({**files(), **{name: data.draw(damaged(files()[name])) for name in names}})
    except FormatError:
        return
    assert judge(response).label in ('accepted', 'electronic-only', 'refused')
