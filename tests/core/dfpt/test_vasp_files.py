"""Responses of VASP runs from their files: real ones, and those of the replay."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dfpt.vasp_files import read_incar, response_from_vasp
from aiida_goectp.core.dfpt.vasprun import read_vasprun
from aiida_goectp.core.dielectric.gamma_modes import THZ
from aiida_goectp.core.dielectric.gate_codes import VerdictLabel
from aiida_goectp.core.dielectric.gates import judge
from aiida_goectp.core.formats.errors import FormatError
from tests.core.dfpt.smearing import smeared
from tests.damaged import damaged
from tests.rows import DATA, PHONONDB, read_rows
from tests.workflows.dfpt.vasp.nodes import crystal, replay

RUTILE = gzip.decompress((DATA / 'finished' / 'sno2' / 'vasprun.xml.gz').read_bytes())
INCAR = {'lepsilon': True, 'ibrion': 8, 'nsw': 1, 'encut': 520, 'gga': 'PS'}


@pytest.fixture(scope='module')
def sodium_chloride(tmp_path_factory):
    """Row, and files of a run of the replay with ionic part."""
    row = read_rows(PHONONDB)['mp-22862']
    folder = tmp_path_factory.mktemp('nacl')
    files = replay(folder, crystal(row), INCAR, potentials=('Na', 'Cl'))
    names = ('vasprun.xml', 'OUTCAR')
    return row, {name: files[name] for name in names} | {'INCAR': (folder / 'INCAR').read_bytes()}


def test_rutile_from_vasprun_alone():
    found = response_from_vasp('rutile', {'vasprun.xml': RUTILE})
    assert np.allclose(np.diag(found.electronic), [4.42038879, 4.42038879, 4.77663396])
    assert found.born_charges.shape == (6, 3, 3)
    assert found.born_charges[0, 2, 2] == pytest.approx(4.48212636)
    assert (found.ionic, found.frequencies, found.force_constants) == (None, None, None)
    assert (found.band_gap, found.functional, found.scf_converged) == (pytest.approx(2.175), 'PBEsol', True)
    assert found.max_force == pytest.approx(8.2e-4, abs=1e-5)
    assert found.crystal.atomic_numbers.tolist() == [50, 50, 8, 8, 8, 8]
    assert found.settings['cutoff'] == 500
    assert judge(found).label == 'electronic-only'


def test_metal_with_smearing_has_no_gap():
    """Its occupations decrease with the energy, so that filled and empty levels never overlap."""
    found = response_from_vasp('metal', {'vasprun.xml': smeared(RUTILE, 4.0)})
    assert found.band_gap == 0
    verdict = judge(found)
    assert [gate.name for gate in verdict.gates if gate.passed is False] == ['insulating']
    assert verdict.label == 'refused'


def test_smearing_of_an_insulator_leaves_its_gap():
    found = response_from_vasp('rutile', {'vasprun.xml': smeared(RUTILE, 5.73335653)})
    assert found.band_gap == pytest.approx(2.175)


def test_run_with_ionic_part(sodium_chloride):
    row, files = sodium_chloride
    found = response_from_vasp('NaCl', files)
    assert np.allclose(found.electronic, row['eps_electronic'], atol=1e-6)
    assert np.allclose(found.born_charges, row['born'], atol=1e-6)
    assert np.allclose(found.ionic, row['eps_ionic_fd'], atol=1e-4)
    assert np.allclose(found.crystal.lattice, row['lattice'])
    assert found.force_constants.shape == (3 * len(row['species']),) * 2
    assert found.functional == 'PBEsol'
    assert np.sort(np.abs(found.frequencies))[:3].tolist() == [0, 0, 0]  # a rounding below zero would be imaginary
    assert judge(found).label == 'accepted', judge(found).reason


def test_masses_are_those_of_the_run(sodium_chloride):
    _, files = sodium_chloride
    content = files['vasprun.xml']
    assert read_vasprun(content).masses == pytest.approx([22.98976928] * 4 + [35.45] * 4)
    expected = response_from_vasp('NaCl', files)
    heavier = content.replace(b'<c>22.98976928<', b'<c>91.95907712<').replace(b'<c>35.45000000<', b'<c>141.8<')
    found = response_from_vasp('NaCl', {**files, 'vasprun.xml': _with_hessian(heavier, 0.25)})
    assert np.allclose(found.force_constants, expected.force_constants, atol=1e-5)
    assert np.allclose(found.frequencies, expected.frequencies / 2, atol=1e-4)


@pytest.mark.parametrize(('unit', 'factor'), [(b'THz^2 ', 1), (b'', THZ**-2), (None, THZ**-2)])
def test_vasprun_alone_states_the_unit_of_the_hessian(sodium_chloride, unit, factor):
    row, files = sodium_chloride
    tag = b'<i name="unit" type="string">THz^2</i>'
    content = files['vasprun.xml']
    assert tag in content
    content = content.replace(tag, b'' if unit is None else tag.replace(b'THz^2', unit))
    expected = response_from_vasp('NaCl', files)
    found = response_from_vasp('NaCl', {'vasprun.xml': _with_hessian(content, factor)})
    assert np.allclose(found.force_constants, expected.force_constants, atol=1e-5)
    assert np.allclose(found.frequencies, expected.frequencies, atol=1e-4)
    assert np.allclose(found.ionic, row['eps_ionic_fd'], atol=1e-4)
    assert judge(found).label == 'accepted', judge(found).reason


def test_hessian_in_an_unknown_unit_is_not_used(sodium_chloride):
    _, files = sodium_chloride
    content = files['vasprun.xml'].replace(b'>THz^2<', b'>Ha/bohr^2<')
    found = response_from_vasp('NaCl', {'vasprun.xml': content})
    assert (found.force_constants, found.frequencies) == (None, None)
    assert judge(found).label == 'electronic-only'
    found = response_from_vasp('NaCl', {**files, 'vasprun.xml': content})
    assert found.force_constants is None
    assert np.allclose(found.frequencies, response_from_vasp('NaCl', files).frequencies, atol=1e-3)


def _with_hessian(content, factor):
    """Return a vasprun.xml with a scaled Hessian."""
    start, end = content.index(b'"hessian"'), content.index(b'</dynmat>')
    scaled = re.sub(
        rb'(?<=[ >])-?\d[-+.E\d]*', lambda number: b'%.12f' % (float(number[0]) * factor), content[start:end]
    )
    return content[:start] + scaled + content[end:]


def test_outcar_decides_on_convergence(sodium_chloride):
    _, files = sodium_chloride
    text = files['OUTCAR'].replace(b'EDIFF is reached', b'NELM is reached', 1)
    assert not response_from_vasp('NaCl', {**files, 'OUTCAR': text}).scf_converged


@pytest.mark.parametrize(
    ('names', 'length', 'code'),
    [
        (('vasprun.xml',), 30000, 'unfinished'),
        (('OUTCAR',), 5000, 'unfinished'),
        (('vasprun.xml',), 20, 'unreadable_file'),
        (('OUTCAR',), None, 'unreadable_file'),  # the replay writes no structure into OUTCAR
    ],
)
def test_incomplete_files_are_refused(sodium_chloride, names, length, code):
    files = {name: sodium_chloride[1][name][:length] for name in names}
    with pytest.raises(CollectError) as caught:
        response_from_vasp('NaCl', files)
    assert caught.value.code == code


def test_run_without_response_is_refused(sodium_chloride):
    content = sodium_chloride[1]['vasprun.xml'].replace(b'name="epsilon"', b'name="other"')
    with pytest.raises(CollectError) as caught:
        response_from_vasp('NaCl', {'vasprun.xml': content})
    assert caught.value.code == 'no_response'


@pytest.mark.parametrize(
    ('old', 'new', 'name'),
    [
        (b'PS</i>', b'--</i>', 'PBE'),  # of the potentials, PAW_PBE
        (b'<i type="string" name="GGA"> PS</i>', b'', 'PBEsol'),  # of the list with the defaults
        (b'PAW_PBE', b'PAW_XYZ', 'PBEsol'),
        (
            b'<i type="logical" name="LHFCALC"> F  </i>',
            b'<i type="logical" name="LHFCALC"> T  </i>',
            'PBEsol(AEXX 0.25, HFSCREEN 0)',
        ),
        (b'<i type="logical" name="LRPA"> F  </i>', b'<i type="logical" name="LRPA"> T  </i>', 'PBEsol+LRPA'),
        (
            b'<i type="logical" name="LUSE_VDW"> F  </i>',
            b'<i type="logical" name="LUSE_VDW"> T  </i>',
            'unnamed (luse_vdw)',
        ),
    ],
)
def test_functional_is_that_in_effect(old, new, name):
    assert old in RUTILE
    assert response_from_vasp('rutile', {'vasprun.xml': RUTILE.replace(old, new)}).functional == name


def test_tags_of_incar_that_vasprun_does_not_list_count():
    files = {'vasprun.xml': RUTILE, 'INCAR': b'GGA = PE\nIVDW = 11 # D3\n'}
    assert response_from_vasp('rutile', files).functional == 'PBEsol+D3'


@pytest.mark.parametrize('number', [b'50.0', b'53.0'])
def test_charged_cell_is_refused(number):
    old = b'name="NELECT">     52.00000000<'
    assert old in RUTILE
    assert read_vasprun(RUTILE).valence == 52
    with pytest.raises(CollectError) as caught:
        response_from_vasp('rutile', {'vasprun.xml': RUTILE.replace(old, b'name="NELECT">' + number + b'<')})
    assert caught.value.code == 'unsupported'


def test_dispersion_energy_without_tag_has_no_name():
    outcar = b' Edisp (eV)  -0.3\n General timing and accounting informations for this job:\n'
    assert response_from_vasp('rutile', {'vasprun.xml': RUTILE, 'OUTCAR': outcar}).functional == 'unnamed (ivdw)'


def test_tensor_of_finite_fields_is_read():
    expected = response_from_vasp('rutile', {'vasprun.xml': RUTILE})
    content = RUTILE.replace(b'name="epsilon"', b'name="epsilon_scf"')
    assert np.array_equal(response_from_vasp('rutile', {'vasprun.xml': content}).electronic, expected.electronic)
    start = RUTILE.index(b'<varray name="epsilon"')
    end = RUTILE.index(b'</varray>', start) + len(b'</varray>')
    other = RUTILE[start:end].replace(b'"epsilon"', b'"epsilon_scf"').replace(b'4.42038879', b'9.00000000')
    assert b'9.0' in other
    for place in (start, end):  # LEPSILON counts if both were computed
        both = RUTILE[:place] + other + RUTILE[place:]
        assert np.array_equal(response_from_vasp('rutile', {'vasprun.xml': both}).electronic, expected.electronic)


TENSOR = b""" MACROSCOPIC STATIC DIELECTRIC TENSOR (including local field effects in DFT)
 ------------------------------------------------------
           4.420389     0.000000     0.000000
           0.000000     4.420389     0.000000
           0.000000     0.000000     4.776634
 ------------------------------------------------------
 General timing and accounting informations for this job:
"""


@pytest.mark.parametrize(('ibrion', 'displaced'), [(b'    -1', False), (b'     6', False), (b'     2', True)])
def test_tensor_of_outcar_belongs_to_the_undisplaced_structure(ibrion, displaced):
    head, step, tail = _parts(RUTILE.replace(b'name="epsilon"', b'name="other"'))
    head = head.replace(b'name="IBRION">    -1', b'name="IBRION">' + ibrion)
    content = head + step + _scaled(step) + tail
    found = response_from_vasp('rutile', {'vasprun.xml': content, 'OUTCAR': TENSOR})
    assert found.electronic[2, 2] == 4.776634
    expected = read_vasprun(content).steps[displaced].structure[0]
    assert np.allclose(found.crystal.lattice, expected)


def _structure_text(lattice, positions, masses=(118.71, 16.0)):
    """Return the part of OUTCAR that has masses and structure of rutile."""
    lines = [f'   POMASS = {mass:8.3f}; ZVAL   =    4.000    mass and valenz' for mass in masses]
    lines += ['   ions per type =               2   4', '   POMASS = ' + ' '.join(f'{mass:.2f}' for mass in masses)]
    lines += ['      direct lattice vectors                 reciprocal lattice vectors']
    lines += [('{:13.9f}' * 3 + '     0.1  0.0  0.0').format(*row) for row in lattice]
    lines += ['', ' position of ions in fractional coordinates (direct lattice) ']
    lines += ['{:13.8f}{:12.8f}{:12.8f}'.format(*row) for row in positions]
    return '\n'.join([*lines, '', '']).encode() + TENSOR


def test_files_of_one_cell_are_read_together():
    lattice, positions = read_vasprun(RUTILE).initial
    files = {'vasprun.xml': RUTILE, 'OUTCAR': _structure_text(lattice, positions + np.array([1, 0, -1]))}
    assert response_from_vasp('rutile', files).crystal.atomic_numbers.tolist() == [50, 50, 8, 8, 8, 8]


@pytest.mark.parametrize(
    ('stretch', 'shift', 'count', 'masses'),
    [
        (0.01, 0, 6, (118.71, 16.0)),
        (0, 0.01, 6, (118.71, 16.0)),
        (0, 0, 5, (118.71, 16.0)),
        (0, 0, 6, (207.2, 16.0)),  # PbO2 in the cell of SnO2
    ],
)
def test_files_of_different_cells_are_refused(stretch, shift, count, masses):
    lattice, positions = read_vasprun(RUTILE).initial
    positions[3, 0] += shift
    text = _structure_text(lattice + stretch, positions[:count], masses)
    with pytest.raises(CollectError) as caught:
        response_from_vasp('rutile', {'vasprun.xml': RUTILE, 'OUTCAR': text})
    assert caught.value.code == 'other_cell'


@pytest.mark.parametrize(
    ('name', 'old', 'new'),
    [
        ('OUTCAR', b'4.776634', b'4.796634'),  # of a run with other k points
        ('OUTCAR', b' MACROSCOPIC', b'   ENCUT  =  400.0 eV  29.40 Ry\n MACROSCOPIC'),
        ('OUTCAR', b' MACROSCOPIC', TENSOR + b' MACROSCOPIC'),  # two files in one
        ('INCAR', b'500', b'400'),
        ('INCAR', b'.TRUE.', b'.FALSE.'),
        ('INCAR', b'IBRION = -1', b'IBRION = 8'),
    ],
)
def test_files_of_different_runs_are_refused(name, old, new):
    files = {
        'vasprun.xml': RUTILE,
        'OUTCAR': TENSOR,
        'INCAR': b'ENCUT = 500\nLEPSILON = .TRUE.\nIBRION = -1\nGGA = PS\n',
    }
    assert response_from_vasp('rutile', files).settings['cutoff'] == 500
    assert old in files[name]
    with pytest.raises(CollectError) as caught:
        response_from_vasp('rutile', files | {name: files[name].replace(old, new)})
    assert caught.value.code == 'other_run'


@pytest.mark.parametrize('number', [b'**********', b'NaN', b'1.0E+300'])
@pytest.mark.parametrize('array', ['epsilon', 'born_charges', 'forces', 'epsilon_ion', 'hessian'])
def test_damaged_numbers_are_refused(sodium_chloride, array, number):
    """A label without its ionic part would be the alternative."""
    content = sodium_chloride[1]['vasprun.xml']
    start = content.index(f'name="{array}"'.encode())
    place = re.compile(rb'<v> *(-?[0-9.]+)').search(content, start).span(1)
    files = {**sodium_chloride[1], 'vasprun.xml': content[: place[0]] + number + content[place[1] :]}
    with pytest.raises(CollectError) as caught:
        response_from_vasp('mp-22862', files)
    assert caught.value.code == 'unreadable_file'


def test_damaged_structure_in_outcar_is_not_compared():
    lattice, positions = read_vasprun(RUTILE).initial
    text = _structure_text(lattice + 1, positions).replace(b'lattice vectors\n', b'lattice vectors\n\n')
    assert response_from_vasp('rutile', {'vasprun.xml': RUTILE, 'OUTCAR': text}).crystal.atomic_numbers.size == 6


def test_relaxation_gives_the_response_of_its_last_structure():
    head, step, tail = _parts(RUTILE)
    content = head.replace(b'name="IBRION">    -1', b'name="IBRION">     2') + step + _scaled(step) + tail
    run = read_vasprun(content)
    assert len(run.steps) == 2
    first, last = (item.structure[0] for item in run.steps)
    assert np.allclose(run.reference_step().structure[0], last)
    assert not np.allclose(first, last)
    fixed = read_vasprun(head + step + _scaled(step) + tail)
    assert np.allclose(fixed.reference_step().structure[0], first)


def _displaced(*, levels_of_first):
    """Return rutile with IBRION = 6: a displaced structure, whose gap is zero, follows."""
    head, step, tail = _parts(RUTILE.replace(b'name="IBRION">    -1', b'name="IBRION">     6'))
    start, end = step.index(b'<eigenvalues>'), step.index(b'</eigenvalues>') + len(b'</eigenvalues>')
    displaced = _parts(smeared(RUTILE, 4.0))[1]
    assert read_vasprun(head + step + displaced + tail).steps[1].band_gap == 0
    return head + (step if levels_of_first else step[:start] + step[end:]) + displaced + tail


def test_gap_of_finite_differences_is_that_of_the_undisplaced_structure():
    found = response_from_vasp('rutile', {'vasprun.xml': _displaced(levels_of_first=True)})
    assert (found.band_gap, found.settings.get('notes')) == (pytest.approx(2.175), None)
    levels = b' E-fermi :   3.0\n k-point   1 :  0 0 0\n      1   1.0  2.0\n      2   4.5  0.0\n\n------\n'
    outcar = b'   IBRION =      6\n' + levels + levels.replace(b'4.5', b'2.5') + TENSOR
    found = response_from_vasp('rutile', {'vasprun.xml': _displaced(levels_of_first=False), 'OUTCAR': outcar})
    assert (found.band_gap, found.settings.get('notes')) == (pytest.approx(3.5), None)


def test_gap_of_a_displaced_structure_is_noted():
    found = response_from_vasp('rutile', {'vasprun.xml': _displaced(levels_of_first=False)})
    assert found.band_gap == 0
    assert len(found.settings['notes']) == 1


def _parts(content):
    start, end = content.index(b'<calculation>'), content.index(b'</calculation>') + len(b'</calculation>')
    return content[:start], content[start:end], content[end:]


def _scaled(step):
    """Return a step with a longer first lattice vector."""
    lattice = read_vasprun(RUTILE).initial[0]
    word = f'{lattice[0, 0]:.8f}'.encode()
    assert word in step
    return step.replace(word, b'4.99000000')


def test_incar_has_comments_several_tags_on_a_line_and_continued_lines():
    text = 'ENCUT = 520 ! eV\n# GGA = PE\n GGA=PS; IBRION = 8\nLDAUU = 4.0 \\\n 0.0\nSYSTEM = "a = b"\nGGA = CA\n'
    assert read_incar(text) == {'encut': '520', 'gga': 'PS', 'ibrion': '8', 'ldauu': '4.0   0.0', 'system': 'a = b'}


def test_entities_are_refused():
    bomb = b'<?xml version="1.0"?><!DOCTYPE modeling [<!ENTITY a "b">]><modeling>&a;</modeling>'
    with pytest.raises(CollectError) as caught:
        read_vasprun(bomb)
    assert caught.value.code == 'unreadable_file'


CODES = {*Refusal, *VerdictLabel, 'bad_lattice', 'not_finite', 'unknown_element', 'atoms_too_close', 'no_atoms'}


@given(text=st.sampled_from((0, 1)).flatmap(lambda which: damaged((RUTILE if which else RUTILE[:9000]).decode())))
@settings(max_examples=40)
def test_any_damage_has_a_response_or_a_named_refusal(text):
    try:
        found = response_from_vasp('rutile', {'vasprun.xml': text.encode()})
    except FormatError as error:
        result = error.code
    else:
        result = judge(found).label
    assert result in CODES


def test_run_of_which_only_outcar_is_left(shared):
    folder = shared / 'vasp_outputs' / 'zn6p4s16_lepsilon'
    files = {name: (folder / name).read_bytes() for name in ('OUTCAR', 'INCAR', 'vasprun.xml')}
    whole = response_from_vasp('x', files)
    cut = response_from_vasp('x', {**files, 'vasprun.xml': files['vasprun.xml'][:40000]})
    alone = response_from_vasp('x', {'OUTCAR': files['OUTCAR']})
    charged = files['OUTCAR'].replace(b'NELECT =     188.0', b'NELECT =     187.0')
    with pytest.raises(CollectError) as caught:
        response_from_vasp('x', {'OUTCAR': charged})
    assert caught.value.code == 'unsupported'
    for found in (cut, alone):
        assert np.allclose(found.electronic, whole.electronic, atol=1e-5)
        assert np.allclose(found.born_charges, whole.born_charges, atol=1e-4)
        assert np.allclose(found.crystal.lattice, whole.crystal.lattice, atol=1e-5)
        assert found.band_gap == pytest.approx(whole.band_gap)
    assert [found.functional for found in (whole, cut, alone)] == ['PBEsol', 'PBEsol', 'unknown']
    for line, name in ((b' LDA+U is selected, type is set to LDAUTYPE =  2', 'lda_u'), (b'   LHFCALC = T', 'lhfcalc')):
        found = response_from_vasp('x', {'OUTCAR': files['OUTCAR'].replace(b'\n', b'\n' + line + b'\n', 1)})
        assert found.functional == f'unnamed ({name})'
