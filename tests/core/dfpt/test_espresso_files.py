"""Responses of real runs of pw.x and ph.x from their files."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given, settings

from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dfpt.espresso_files import GROUND_STATE, response_from_espresso
from aiida_goectp.core.dfpt.espresso_response import MATRIX, OUTPUT, TENSORS
from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.core.dielectric.gates import judge
from aiida_goectp.core.formats.errors import FormatError
from tests.damaged import damaged
from tests.rows import DATA


def files(name='ibrav0'):
    folder = DATA / 'finished' / name
    return {
        GROUND_STATE: gzip.decompress((folder / 'tmp/mgo.save/data-file-schema.xml.gz').read_bytes()),
        OUTPUT: gzip.decompress((folder / 'ph.out.gz').read_bytes()),
        TENSORS: (folder / 'tmp/_ph0/mgo.phsave/tensors.xml').read_bytes(),
        MATRIX: (folder / 'mgo.dyn').read_bytes(),
    }


WHOLE = files()


def test_complete_run():
    found = response_from_espresso('MgO', WHOLE)
    assert np.allclose(found.electronic, 3.33712135 * np.eye(3))
    assert np.allclose(found.ionic, 8.3245898 * np.eye(3))
    assert np.allclose(found.crystal.lattice, np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.106)
    assert np.allclose(found.crystal.fractional_positions, [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert found.crystal.atomic_numbers.tolist() == [12, 8]
    assert (found.functional, found.scf_converged, found.engine) == ('PBEsol', True, 'quantumespresso')
    assert found.band_gap == pytest.approx(14.9599 - 7.6234, abs=2e-4)  # printed by pw.x
    assert found.max_force == pytest.approx(0, abs=1e-8)
    assert found.settings['cutoff'] == pytest.approx(60 * 13.605693, rel=1e-6)
    assert (found.settings['version'], found.settings['mesh']) == ('6.7MaX', [2, 2, 2])
    assert found.force_constants.shape == (6, 6)
    assert judge(found).label == 'accepted'


@pytest.mark.parametrize(
    ('name', 'old', 'new'),
    [
        (OUTPUT, b'kinetic-energy cut-off    =      60.0000', b'kinetic-energy cut-off    =      50.0000'),
        (OUTPUT, b'3.337121348 ', b'3.357121348 '),  # with other k points
        (TENSORS, b'3.337', b'3.357'),
        (MATRIX, b'3.337', b'3.357'),
    ],
)
def test_files_of_different_runs_are_refused(name, old, new):
    assert old in WHOLE[name]
    with pytest.raises(CollectError) as caught:
        response_from_espresso('MgO', {**WHOLE, name: WHOLE[name].replace(old, new)})
    assert caught.value.code == 'other_run'


def test_gap_of_fixed_occupations_may_be_unknown():
    """pw.x computes no empty band unless nbnd is given."""
    folder = DATA / 'fixed_occupations'
    plain = {
        GROUND_STATE: gzip.decompress((folder / 'data-file-schema.xml.gz').read_bytes()),
        OUTPUT: gzip.decompress((folder / 'ph.out.gz').read_bytes()),
        TENSORS: WHOLE[TENSORS],
        MATRIX: WHOLE[MATRIX],
    }
    found = response_from_espresso('MgO', plain)
    assert (found.band_gap, found.settings['occupations'], found.scf_converged) == (None, 'fixed', True)
    assert judge(found).label == 'accepted'
    assert judge(found, {'insulating': 0.5}).label == 'refused'
    old, new = b'<occupations_kind>fixed<', b'<occupations_kind>smearing<'
    assert old in plain[GROUND_STATE]
    smeared = response_from_espresso('MgO', {**plain, GROUND_STATE: plain[GROUND_STATE].replace(old, new)})
    assert judge(smeared).label == 'refused'
    assert judge(smeared, {'insulating': None}).label == 'accepted'


def test_matrix_in_xml_format():
    """The same crystal and settings as those of the run in text format, so that both parts are equal."""
    folder = DATA / 'fixed_occupations'
    xml = {
        GROUND_STATE: gzip.decompress((folder / 'data-file-schema.xml.gz').read_bytes()),
        OUTPUT: gzip.decompress((folder / 'ph.out.gz').read_bytes()),
        MATRIX: (folder / 'mgo.dyn.xml').read_bytes(),
    }
    found, text = response_from_espresso('MgO', xml), response_from_espresso('MgO', WHOLE)
    assert np.allclose(found.ionic, text.ionic, atol=5e-3)
    assert np.allclose(found.frequencies, text.frequencies, atol=5e-3)
    assert judge(found).label == 'accepted'
    damage = response_from_espresso('MgO', {**WHOLE, MATRIX: xml[MATRIX][:4000]})
    assert (judge(damage).label, len(damage.settings['notes'])) == ('electronic-only', 1)


def test_frame_of_another_bravais_lattice_is_that_of_pw():
    """The matrix file contains no lattice then; both runs are of the same crystal."""
    first, second = (response_from_espresso('MgO', files(name)) for name in ('ibrav0', 'ibrav2'))
    assert second.crystal.lattice[0].tolist() == pytest.approx([-2.106, 0, 2.106])
    assert np.allclose(first.ionic, second.ionic, atol=2e-3)
    assert np.allclose(first.frequencies, second.frequencies, atol=2e-3)


def test_matrix_of_another_cell_is_refused():
    with pytest.raises(CollectError) as caught:
        response_from_espresso(
            'MgO', {**WHOLE, MATRIX: files('ibrav2')[MATRIX].replace(b'-0.5000000000', b'0.4000000000')}
        )
    assert caught.value.code == 'other_cell'


@pytest.mark.parametrize(
    ('changes', 'code'),
    [
        ({GROUND_STATE: None}, 'missing_file'),
        ({OUTPUT: None}, 'missing_file'),
        ({MATRIX: None, TENSORS: None}, 'no_response'),
        ({OUTPUT: (b'JOB DONE', b'')}, 'unfinished'),
        ({GROUND_STATE: (b'</output>', b'')}, 'unreadable_file'),
        ({GROUND_STATE: (b'output>', b'nothing>')}, 'unfinished'),
        ({GROUND_STATE: (b'eigenvalues', b'values')}, 'unreadable_file'),
        ({GROUND_STATE: (b'<?xml version="1.0" encoding="UTF-8"?>', b'<!DOCTYPE a []>')}, 'unreadable_file'),
        ({GROUND_STATE: (b'<calculation>scf<', b'<calculation>nscf<')}, 'unsupported'),
        ({GROUND_STATE: (b'<calculation>scf<', b'<calculation>bands<')}, 'unsupported'),
        ({GROUND_STATE: (b'<tot_charge>0.0', b'<tot_charge>2.0')}, 'unsupported'),
        ({GROUND_STATE: (b'"Mg"', b'"Zz"')}, 'unknown_element'),
    ],
)
def test_refusals(changes, code):
    given_files = dict(WHOLE)
    for name, change in changes.items():
        if change is None:
            del given_files[name]
        else:
            assert change[0] in WHOLE[name]
            given_files[name] = WHOLE[name].replace(*change)
    with pytest.raises(FormatError) as caught:
        response_from_espresso('MgO', given_files)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ('name', 'old', 'new', 'functional'),
    [
        (GROUND_STATE, b'</functional>', b'</functional><vdW><vdw_corr>grimme-d3</vdw_corr></vdW>', 'PBEsol+D3'),
        (GROUND_STATE, b'</functional>', b'</functional><vdW><vdw_corr>new</vdw_corr></vdW>', 'unnamed (vdw_corr)'),
        (GROUND_STATE, b'</functional>', b'</functional><dftU></dftU>', 'unnamed (hubbard_u)'),
        (GROUND_STATE, b'</functional>', b'</functional><hybrid></hybrid>', 'unnamed (exx_fraction)'),
        (GROUND_STATE, b'<spinorbit>false', b'<spinorbit>true', 'PBEsol+SOC'),
        (OUTPUT, b'Dielectric constant in cartesian axis', b'RPA dielectric constant in cartesian', 'PBEsol+LRPA'),
        (OUTPUT, b'Dielectric constant in cartesian axis', b'Dielectric constant (DV_Hxc=0)', 'unnamed (lnoloc)'),
    ],
)
def test_functional_is_that_of_both_programs(name, old, new, functional):
    assert old in WHOLE[name]
    assert response_from_espresso('MgO', {**WHOLE, name: WHOLE[name].replace(old, new)}).functional == functional


def _with_hubbard(given, written):
    """Return the XML of pw.x with DFT+U in the input and in the output."""
    text = WHOLE[GROUND_STATE].decode()
    head, tail = text.split('<output>')
    assert '</functional>' in head
    assert '</functional>' in tail
    parts = (
        part.replace('</functional>', f'</functional><dftU>{inner}</dftU>')
        for part, inner in ((head, given), (tail, written))
    )
    return '<output>'.join(parts).encode()


def _hubbard_u(value, specie='O', label='2p', name='Hubbard_U'):
    return f'<{name} specie="{specie}" label="{label}">{value}</{name}>'


STATE = '<lda_plus_u_kind>0</lda_plus_u_kind><Hubbard_ns specie="O" label="2p" spin="1" index="2">0.9</Hubbard_ns>'
ORTHO = '<U_projection_type>ortho-atomic</U_projection_type>'


@pytest.mark.parametrize(
    ('given', 'written', 'name'),
    [
        (_hubbard_u(5.0), _hubbard_u(3.674932217565494e-1), 'PBEsol+U(O 5)'),  # 6.7: eV, Ry
        (_hubbard_u(1.837466108782747e-1), _hubbard_u('1.837466108782747E-01'), 'PBEsol+U(O 5)'),  # 7.2: Ha, Ha
        (_hubbard_u(5.0), _hubbard_u(3.674932217565494e-1) + ORTHO, 'PBEsol+U(ortho-atomic: O 5)'),
        (_hubbard_u(5.0), _hubbard_u(5.0), 'PBEsol+U(O 136.057)'),
        (_hubbard_u(5.0), _hubbard_u(0.1), 'unnamed (hubbard_u)'),  # units that no version writes
        ('', _hubbard_u(0.1), 'unnamed (hubbard_u)'),
        (_hubbard_u(5.0), _hubbard_u('1 2'), 'unnamed (hubbard_u)'),
        (_hubbard_u(5.0, 'Mg', '3s'), _hubbard_u(3.674932217565494e-1, 'Mg', '3s'), 'unnamed (hubbard_orbital)'),
        (
            _hubbard_u(5.0),
            _hubbard_u(3.674932217565494e-1) + _hubbard_u(7.3e-2, name='Hubbard_J0'),
            'unnamed (hubbard_parameters)',
        ),
        (_hubbard_u(5.0), STATE.replace('0', '2', 1) + _hubbard_u(3.674932217565494e-1), 'unnamed (hubbard_u)'),
    ],
)
def test_values_of_u_are_named(given, written, name):
    xml = _with_hubbard(given, written if 'lda_plus_u_kind' in written else STATE + written)
    assert response_from_espresso('MgO', {**WHOLE, GROUND_STATE: xml}).functional == name


@pytest.mark.parametrize(
    ('words', 'name'),
    [
        ('<london_s6>7.5e-1</london_s6><london_rcut>2.0e2</london_rcut>', 'PBEsol+D2'),
        ('<london_s6>5.0e-1</london_s6><london_rcut>2.0e2</london_rcut>', 'unnamed (london_s6)'),
        ('<london_c6 specie="Mg">100</london_c6>', 'unnamed (london_c6)'),
    ],
)
def test_dispersion_with_other_parameters_has_no_name(words, name):
    text = f'</functional><vdW><vdw_corr>grimme-d2</vdw_corr>{words}</vdW>'.encode()
    xml = WHOLE[GROUND_STATE].replace(b'</functional>', text)
    assert response_from_espresso('MgO', {**WHOLE, GROUND_STATE: xml}).functional == name


def test_unconverged_runs_are_refused_by_their_gate():
    for name, old, new in (
        (GROUND_STATE, b'<convergence_achieved>true', b'<convergence_achieved>false'),
        (OUTPUT, b'convergence threshold     =      1.0E-14', b'convergence threshold     =      1.0E-30'),
    ):
        assert old in WHOLE[name]
        found = response_from_espresso('MgO', {**WHOLE, name: WHOLE[name].replace(old, new)})
        assert not found.scf_converged
        assert judge(found).label == 'refused'


CODES = {*Refusal, *VerdictLabel, 'bad_lattice', 'not_finite', 'unknown_element', 'atoms_too_close', 'no_atoms'}


@given(text=damaged(WHOLE[GROUND_STATE][-9000:].decode()))
@settings(max_examples=60)
def test_any_damage_has_a_response_or_a_named_refusal(text):
    head = WHOLE[GROUND_STATE][:-9000]
    try:
        found = response_from_espresso('MgO', {**WHOLE, GROUND_STATE: head + text.encode()})
    except FormatError as error:
        result = error.code
    else:
        result = judge(found).label
    assert result in CODES
