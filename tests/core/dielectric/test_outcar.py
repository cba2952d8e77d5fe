"""Output files of VASP, complete and truncated."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_goectp.core.dielectric.outcar import (
    ground_state_steps,
    read_loops,
    read_outcar,
    refusal,
    resource_problem,
    symmetry_problem,
)
from tests.core.dfpt.smearing import filling
from tests.damaged import damaged, without_or_with_two
from tests.rows import DATA

OUTCAR = gzip.decompress((DATA / 'OUTCAR.si.gz').read_bytes()).decode()


@pytest.fixture(scope='module')
def silicon():
    """Excerpt of the OUTCAR of Si with LEPSILON and IBRION = 8."""
    return OUTCAR


@pytest.fixture(scope='module')
def thiophosphate():
    """Excerpt of the OUTCAR of Zn3P2S8 with LEPSILON, without ionic part."""
    return gzip.decompress((DATA / 'OUTCAR.zn3p2s8.gz').read_bytes()).decode()


def _iterations(*loops, message='aborting loop because EDIFF is reached'):
    lines = []
    for steps, converged in loops:
        lines += [f'----------- Iteration    1( {i + 1:3d})  -----------' for i in range(steps)]
        lines += [f'------- {message} ------'] if converged else []
    return lines


def test_loops(silicon):
    loops = list(read_loops(silicon.splitlines()))
    assert [loop.steps for loop in loops] == [14, 6, 6, 6, 4, 4, 4, 10, 10, 10, 6]
    assert all(loop.converged for loop in loops)


@pytest.mark.parametrize('position', [0, 1, 2])
def test_an_unconverged_loop_is_detected(position):
    loops = [(5, True), (7, True), (6, True)]
    loops[position] = (loops[position][0], False)
    assert [tuple(loop) for loop in read_loops(_iterations(*loops))] == loops


def test_failure_message_of_vasp_6():
    lines = [*_iterations((3, False)), '------ aborting loop EDIFF was not reached (unconverged) ------']
    assert [loop.converged for loop in read_loops(lines)] == [False]


def test_a_single_step_is_a_loop():
    assert len(list(read_loops(_iterations((1, True), (1, True), (1, False))))) == 3


def test_text_without_iterations_has_no_loops():
    assert list(read_loops(['POSMAP internal error'])) == []


def test_outcar_with_ionic_part(silicon):
    found = read_outcar(silicon)
    assert np.allclose(np.diag(found.electronic), 13.23245, atol=1e-4)
    assert found.ionic.shape == (3, 3)
    assert np.abs(found.ionic).max() == 0
    assert found.born_charges.shape == (2, 3, 3)
    assert np.allclose(found.frequencies[:3], 15.47108, atol=1e-4)
    assert np.allclose(found.frequencies[3:], 0, atol=1e-4)
    assert (found.cutoff, found.recommended_cutoff) == (600.0, 245.345)
    assert found.band_gap == pytest.approx(0.6371)


def test_outcar_without_ionic_part(thiophosphate):
    found = read_outcar(thiophosphate)
    assert np.allclose(found.electronic, np.diag([5.894056, 5.894056, 6.171821]))
    assert found.ionic is None
    assert found.frequencies is None
    assert found.band_gap == pytest.approx(2.2305)
    assert found.born_charges.shape == (26, 3, 3)
    assert np.allclose(found.born_charges[0, 0], [2.80527, -0.26115, 0.07348])


def test_outcar_truncated_within_the_tensor(thiophosphate):
    place = thiophosphate.index('MACROSCOPIC STATIC DIELECTRIC TENSOR')
    assert read_outcar(thiophosphate[: place + 150]).electronic is None
    assert read_outcar('').loops == ()


def test_an_overflowed_tensor_is_none():
    text = ' MACROSCOPIC STATIC DIELECTRIC TENSOR (including local field effects in DFT)\n ----\n'
    assert read_outcar(text + '  ******** 0.0 0.0\n 0.0 1.0 0.0\n 0.0 0.0 1.0\n').electronic is None


def test_gap_of_a_metal_and_without_empty_bands():
    head = ' E-fermi :   5.0\n k-point 1 :  0.0 0.0 0.0\n  band No.  band energies     occupation\n'
    assert read_outcar(f'{head}   1  -5.0000  2.00000\n   2  4.9000  1.20000\n   3  4.5000  0.00000\n').band_gap == 0
    assert read_outcar(f'{head}   1  -5.0000  2.00000\n   2  4.9000  2.00000\n').band_gap is None


@pytest.mark.parametrize(('ibrion', 'gap'), [(-1, 2.0), (2, 2.0), (5, 3.0), (6, 3.0), (8, 2.0)])
def test_gap_of_finite_differences_is_that_of_the_undisplaced_structure(ibrion, gap):
    head = ' E-fermi :   5.0\n k-point 1 :  0.0 0.0 0.0\n  band No.  band energies     occupation\n'
    levels = '   1   1.0000  2.00000\n   2  {:.4f}  0.00000\n\n---------\n'
    text = f'   IBRION =      {ibrion}    ionic relax\n' + ''.join(head + levels.format(x) for x in (4, 3.5, 3))
    assert read_outcar(text).band_gap == pytest.approx(gap)


MASSES = """\
   POMASS =   30.974; ZVAL   =    5.000    mass and valenz
   POMASS =   32.066; ZVAL   =    6.000    mass and valenz
   POMASS =   65.390; ZVAL   =   12.000    mass and valenz
   ions per type =               4  16   6
  Mass of Ions in am
   POMASS =  30.97 32.07 65.39
"""  # Zn3P2S8


def test_masses_are_those_in_effect(silicon):
    assert read_outcar(MASSES).masses.tolist() == [30.974] * 4 + [32.066] * 16 + [65.39] * 6
    heavier = MASSES.replace('30.97 32.07', '30.97 34.00')  # POMASS of INCAR
    assert read_outcar(heavier).masses[[0, 4]].tolist() == [30.974, 34.0]
    for line in MASSES.splitlines():
        assert (read_outcar(MASSES.replace(line, '')).masses is None) == ('=' in line)
    assert read_outcar(silicon).masses is None


def test_metal_with_smearing_has_no_gap(silicon):
    level = re.compile(r'^( +\d+ +)(-?\d+\.\d+)( +)\d\.\d{5}$', re.MULTILINE)
    text = level.sub(lambda line: f'{line[1]}{line[2]}{line[3]}{filling(float(line[2]), 4.9):.5f}', silicon)
    assert read_outcar(text).band_gap == 0


def test_gap_of_two_spins_of_which_one_has_no_electron():
    points = ' k-point     1 :  0.0 0.0 0.0\n   1  -5.0000  {}\n   2  1.0000  0.0000\n'
    points += ' k-point     2 :  0.5 0.0 0.0\n   1  -4.0000  {}\n   2  2.0000  0.0000\n'
    text = ' E-fermi :   0.0\n' + points.format('1.0000', '1.0000') + points.format('0.0000', '0.0000')
    assert read_outcar(text).band_gap == 0
    text = text.replace('-5.0000  0.0000', '0.5000  0.0000').replace('-4.0000  0.0000', '0.5000  0.0000')
    assert read_outcar(text).band_gap == pytest.approx(4.5)
    assert read_outcar(text.rsplit('\n', 2)[0]).band_gap is None  # a level of the second spin is missing


def test_imaginary_modes_are_negative():
    text = (
        ' Eigenvectors and eigenvalues of the dynamical matrix\n'
        '   1 f  =   15.471080 THz    97.207663 2PiTHz  516.059665 cm-1    63.983267 meV\n'
        '   2 f/i=    2.500000 THz     0.000000 2PiTHz    0.000002 cm-1     0.000000 meV\n'
    )
    assert read_outcar(text).frequencies.tolist() == [15.47108, -2.5]


STEP = b'   <scstep>\n    <time name="total">   1.50   1.50</time>\n   </scstep>\n'
VASPRUN = (
    b'<modeling>\n <parameters>\n  <separator name="electronic convergence" >\n'
    b'   <i type="int" name="NELM">    60</i>\n'
    b'  </separator>\n </parameters>\n <structure name="initialpos" ></structure>\n <calculation>\n'
    + 15 * STEP
    + b'  <structure>\n  </structure>\n'
    + 12 * STEP
    + b' </calculation>\n <structure name="finalpos" ></structure>\n</modeling>\n'
)


def test_steps_of_the_response_do_not_count():
    assert ground_state_steps(VASPRUN) == (15, 60)
    assert ground_state_steps(VASPRUN[: VASPRUN.index(b'<calculation>')]) is None
    assert ground_state_steps(VASPRUN[: VASPRUN.index(b'NELM')]) is None


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('si_ibrion8_lepsilon/vasprun.xml.gz', (14, 100)),
        ('si_ibrion8_unconverged/vasprun.dfpt.unconverged.xml.gz', (7, 7)),
        ('sno2_lepsilon/vasprun.xml', (15, 60)),
        ('zn6p4s16_lepsilon/vasprun.xml', (22, 60)),
    ],
)
def test_ground_state_steps_of_published_files(shared, path, expected):
    content = (shared / 'vasp_outputs' / path).read_bytes()
    assert ground_state_steps(gzip.decompress(content) if path.endswith('.gz') else content) == expected


@pytest.mark.parametrize(
    'line',
    [
        ' POSMAP internal error: symmetry equivalent atom not found,',
        ' VERY BAD NEWS! internal error in subroutine PRICEL (probably precision problem)',
        ' VASP internal routines have requested a change of the k-point set. Unfortunately',
        ' RHOSYG internal error: stars are not distinct, try to increase SYMPREC to e.g. 1E-4',
    ],
)
def test_symmetry_problem(line):
    assert symmetry_problem(f' vasp.6.4.2\n{line}\n')
    assert symmetry_problem(' vasp.6.4.2\n reading files\n BRMIX: very serious problems\n') is None


CHARGES = """ BORN EFFECTIVE CHARGES (excluding local field effects) (in |e|, cummulative output)
 ---------------------------------------------------------------------------------
 ion    1
    1     3.00000     0.00000     0.00000
    2     0.00000     3.00000     0.00000
    3     0.00000     0.00000     3.00000
"""


def test_born_charges_include_local_fields():
    including = CHARGES.replace('excluding', 'including').replace('3.0', '2.0')
    assert read_outcar(CHARGES).born_charges is None
    for text in (including, CHARGES + including, including + CHARGES):
        assert read_outcar(text).born_charges.tolist() == [np.diag([2.0] * 3).tolist()]


def test_functional_of_the_potentials():
    text = '   LEXCH  = PE        \n   LEXCH  = CA\n exchange correlation table for  LEXCH =        8\n'
    assert read_outcar(text + '   LEXCH   =     8    internal setting\n').potential_functionals == ('PE', 'CA')


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('THz', ''),
        ('15.471080 THz', '********* THz'),
        ('15.471080 THz', '1.5.4 THz'),
        ('15.471080 THz', f'{"9" * 400} THz'),
    ],
)
def test_damaged_frequencies_are_missing(old, new, silicon):
    place = silicon.index('Eigenvectors and eigenvalues of the dynamical matrix')
    found = read_outcar(silicon[:place] + silicon[place:].replace(old, new, 1))
    assert found.frequencies is None or len(found.frequencies) < 6
    assert found.electronic is not None


def test_a_line_too_many_or_too_few_changes_no_tensor(silicon):
    """The tensor is repeated in OUTCAR: one copy is damaged."""
    whole = read_outcar(silicon)
    row = len(silicon[: silicon.rindex('MACROSCOPIC STATIC DIELECTRIC TENSOR (')].splitlines()) - 4
    for text in without_or_with_two(silicon, row):
        found = read_outcar(text)
        np.testing.assert_array_equal(found.electronic, whole.electronic)
        assert found.ionic is None or (found.ionic == whole.ionic).all()
        assert (
            found.born_charges is None
            or len(found.born_charges) < 2
            or (found.born_charges == whole.born_charges).all()
        )


def _results_are_finite(found):
    arrays = (found.electronic, found.ionic, found.born_charges, found.frequencies, found.cutoff, found.band_gap)
    assert all(values is None or np.isfinite(values).all() for values in arrays)
    assert found.recommended_cutoff is None or np.isfinite(found.recommended_cutoff)


TAIL = OUTCAR[OUTCAR.rindex(' E-fermi') :]  # levels of the ground state, the responses, the tensors


@given(data=st.data())
def test_any_damage_of_an_outcar_gives_finite_results(data):
    text = data.draw(damaged('   ENMAX  =  245.345; ENMIN  =  184.009 eV\n   ENCUT  =  600.0 eV\n' + TAIL))
    _results_are_finite(read_outcar(text))
    assert symmetry_problem(text) is None
    assert resource_problem(text) is None
    assert refusal(text) is None


@given(data=st.data())
def test_any_damage_of_a_vasprun_has_a_result(data):
    found = ground_state_steps(data.draw(damaged(VASPRUN.decode())).encode(errors='replace'))
    assert found is None or min(found) >= 0


def test_reading_takes_linear_time():
    """Text that made a regular expression search to the end of the file for each line."""
    assert ground_state_steps(b'<separator name="electronic convergence"' * 50000) is None
    assert read_outcar('Iteration  1( \n' * 50000).loops == ()
