"""Output of ``goectp predict``."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.crystals import CrystalSet, Failure
from aiida_goectp.core.dielectric.predictions import FLAG_NAMES, Predictions
from aiida_goectp.core.executable.output import NO_STATIC_PERMITTIVITY, json_lines, text
from tests import tiny


def test_json_has_a_line_for_each_row_failed_or_not(goectp, model, tmp_path):
    crystals, bad, codes = tiny.with_bad_rows()
    crystals.save(tmp_path / 'mixed.npz')
    arguments = ['--model', model, '--device', 'cpu', '--quiet']
    result = goectp('predict', 'mixed.npz', *arguments, '--json', '--output', 'out.npz')
    strict = {'parse_constant': lambda name: pytest.fail(f'{name} is not JSON')}
    lines = [json.loads(line, **strict) for line in result.output.splitlines()]
    assert [line['id'] for line in lines] == [*crystals.ids, 'gone']
    table = Predictions.load(tmp_path / 'out.npz')
    for row, line in enumerate(lines[:-1]):
        assert ('error' in line) == (row in bad)
        if row in bad:
            assert line['error'].startswith(codes[bad.tolist().index(row)])
            assert line['electronic'] is line['ionic'] is line['total'] is None
            assert line['average_std'] == [None] * 3
        else:
            assert line['flags'] == []
            np.testing.assert_allclose(line['lattice'], crystals[row].lattice)
            for name in ('electronic', 'ionic', 'total'):
                np.testing.assert_allclose(line[name], getattr(table, name)[row])
    assert lines[-1]['error'] == 'unreadable_file: cut off'


def test_a_single_structure_is_printed_in_the_frame_of_its_cell(goectp, model, tmp_path):
    (tmp_path / 'MgO.cif').write_text(tiny.CIF)
    arguments = ['--model', model, '--device', 'cpu']
    line = json.loads(goectp('predict', 'MgO.cif', *arguments, '--json').stdout)
    assert line['id'] == 'MgO'
    np.testing.assert_allclose(line['lattice'], np.diag([4.212, 4.212, 6.0]), atol=1e-10)
    total = np.array(line['total'])
    assert total[0, 0] == pytest.approx(total[1, 1], rel=1e-6)
    assert abs(total[2, 2] - total[0, 0]) > 1e-4  # the tetragonal axis is c
    output = goectp('predict', 'MgO.cif', *arguments).stdout
    assert output.startswith('MgO')
    assert '±' not in output
    assert f'{6:10.5f}' in output
    for name in ('electronic', 'ionic', 'total'):
        tensor = np.array(line[name])
        assert f'{name}: average {np.trace(tensor) / 3:.3f}, eigenvalues {tensor.diagonal().min():.3f}' in output
        assert f'{tensor[2, 2]:10.4f}' in output


def test_deviations_are_printed(with_deviations):
    crystals, predictions = with_deviations
    lines = text(crystals, predictions).splitlines()
    heading = 'electronic: average 3.00 ± 0.30, eigenvalues 2.00 ± 0.20, 3.00 ± 0.30, 4.00 ± 0.40'
    assert f'{heading}, anisotropy 2.00 ± 0.25' in lines
    assert 'ionic: average 6.00 ± 0.60, eigenvalues 4.00 ± 0.40, 6.00 ± 0.60, 8.00 ± 0.80' in lines
    assert '      2.0000      0.0000      0.0000   ±      0.2000      0.0000      0.0000' in lines
    assert lines[-1] == 'flags: unseen_element, unlike_training'
    line = json.loads(next(json_lines(crystals, predictions)))
    assert line['average_std'] == [pytest.approx(x) for x in (0.3, 0.6, 0.9)]
    assert line['anisotropy_std'] == [0.25, None, 0.25]
    np.testing.assert_allclose(line['eigenvalues_std'][0], [0.2, 0.3, 0.4])
    np.testing.assert_allclose(line['total_std'], np.diag([0.6, 0.9, 1.2]))


def test_an_unstable_crystal_has_no_static_permittivity(with_deviations):
    crystals, predictions = with_deviations
    assert NO_STATIC_PERMITTIVITY not in text(crystals, predictions)
    unstable = replace(predictions, flags=np.array([1 << FLAG_NAMES.index('unstable')], np.uint32))
    lines = text(crystals, unstable).splitlines()
    place = lines.index(NO_STATIC_PERMITTIVITY)
    assert lines[place - 4].startswith('total: ')
    assert lines[place + 1] == 'flags: unstable'
    assert unstable.unstable.tolist() == [True]


@pytest.fixture
def with_deviations():
    crystals = tiny.some_crystals(1)
    electronic = np.diag([2.0, 3.0, 4.0])[None]
    parts = {'electronic': electronic, 'ionic': 2 * electronic, 'total': 3 * electronic}
    predictions = Predictions(
        crystals.ids,
        crystals.hashes,
        **parts,
        **{f'{name}_std': tensor / 10 for name, tensor in parts.items()},
        flags=np.array([5], np.uint32),
        errors=np.array(['']),
        model_hash='m',
        anisotropy_std=np.array([[0.25, np.nan, 0.25]]),
        eigenvalues_std=np.array([[[0.2, 0.3, 0.4], [0.4, 0.6, 0.8], [0.6, 0.9, 1.2]]]),
    )
    return crystals, predictions


def test_a_model_of_the_total_alone(goectp, tmp_path):
    model = tiny.write_model(tmp_path / 'total.safetensors', preset='published', targets=['total'])
    (tmp_path / 'MgO.cif').write_text(tiny.CIF)
    line = json.loads(goectp('predict', 'MgO.cif', '--model', model, '--device', 'cpu', '--json').stdout)
    assert line['electronic'] is line['ionic'] is None
    assert np.shape(line['total']) == (3, 3)
    assert 'electronic' not in goectp('predict', 'MgO.cif', '--model', model, '--device', 'cpu').stdout


def test_unreadable_files_of_a_folder_are_failed_rows(predict, status, tmp_path):
    folder = tmp_path / 'structures'
    folder.mkdir()
    (folder / 'MgO.cif').write_text(tiny.CIF)
    (folder / 'torn.cif').write_text(tiny.CIF[:-30])
    table = predict(source='structures')
    assert table.ids.tolist() == ['MgO', 'torn']
    assert table.failed.tolist() == [False, True]
    assert 'torn.cif' in table.errors[1]
    assert (status()['rows_total'], status()['rows_failed']) == (2, 1)


def test_a_set_of_one_failure_and_an_empty_one(goectp, model, tmp_path):
    CrystalSet.from_crystals([], failures=[Failure('x', 'no_atoms', 'empty')]).save(tmp_path / 'one.npz')
    assert 'no_atoms' in goectp('predict', 'one.npz', '--model', model, '--device', 'cpu').stdout
    CrystalSet.from_crystals([]).save(tmp_path / 'none.npz')
    output = goectp('predict', 'none.npz', '--model', model, '--device', 'cpu', status=2).output
    assert 'bad_input: none.npz' in output


def test_several_structures_are_printed_as_a_table(goectp, model, tmp_path):
    folder = tmp_path / 'structures'
    folder.mkdir()
    for name in ('first', 'second', 'third'):
        (folder / f'{name}.cif').write_text(tiny.CIF)
    (folder / 'cut.cif').write_text('data_')
    arguments = ['--model', model, '--device', 'cpu']
    lines = [json.loads(line) for line in goectp('predict', 'structures', *arguments, '--json').stdout.splitlines()]
    output = goectp('predict', 'structures', *arguments).stdout
    rows = {words[0]: words for words in map(str.split, output.splitlines()) if words}
    assert rows['first'][1] == rows['second'][1] == 'MgO'
    average = np.trace(lines[0]['electronic']) / 3
    assert float(rows['first'][2]) == pytest.approx(average, rel=1e-3)
    assert 'cut.cif' in output
    assert 'third' not in goectp('predict', 'structures', *arguments, '--rows', 2).stdout


@pytest.mark.parametrize('rows', [1, 3])
def test_raw_prints_the_cells_of_the_table(goectp, model, tmp_path, rows):
    tiny.some_crystals().take(range(rows)).save(tmp_path / 'some.npz')
    result = goectp('predict', 'some.npz', '--model', model, '--device', 'cpu', '--raw')
    lines = [line.split('\t') for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == tiny.some_crystals().ids[:rows].tolist()
    assert 'id' not in lines[0]
    goectp('predict', 'some.npz', '--model', model, '--raw', '--output', '-', status=2)
    goectp('predict', 'some.npz', '--model', model, '--raw', '--json', status=2)


def test_the_shipped_model_is_the_default(goectp, tmp_path):
    (tmp_path / 'MgO.cif').write_text(tiny.CIF)
    arguments = ['predict', 'MgO.cif', '--json', '--device', 'cpu']
    assert goectp(*arguments).stdout == goectp(*arguments, '--model', 'goectp').stdout


def test_the_file_can_be_written_to_standard_output(goectp, model, tmp_path):
    (tmp_path / 'MgO.cif').write_text(tiny.CIF)
    arguments = ['predict', 'MgO.cif', '--model', model, '--device', 'cpu']
    goectp(*arguments, '-o', 'out.npz')
    table = Predictions.load(io.BytesIO(goectp(*arguments, '-o', '-').stdout_bytes))
    np.testing.assert_array_equal(table.total, Predictions.load(tmp_path / 'out.npz').total)
    assert not (tmp_path / '-').exists()
    goectp(*arguments, '-o', '-', '--json', status=2)
    goectp('train', 'MgO.cif', '-o', '-', '--split', 'any', status=2)


def test_several_inputs_and_what_is_left_out(goectp, model, tmp_path):
    (tmp_path / 'folder' / 'inner').mkdir(parents=True)
    for name in ('one.cif', 'folder/two.cif', 'folder/inner/three.cif', 'folder/four.cif.bz2'):
        (tmp_path / name).write_text(tiny.CIF)
    arguments = ['predict', 'one.cif', 'folder', '--model', model, '--device', 'cpu', '-o', 'out.npz']
    message = goectp(*arguments).stderr
    assert Predictions.load(tmp_path / 'out.npz').ids.tolist() == ['one', 'two']
    assert '2 files and folders are left out, first folder/four.cif.bz2' in message
    message = goectp(*arguments, '--recursive', '--no-resume').stderr
    assert Predictions.load(tmp_path / 'out.npz').ids.tolist() == ['one', 'three', 'two']
    assert '1 files and folders' in message
    assert not goectp(*arguments, '--quiet').stderr


def test_an_output_with_the_suffix_of_another_format_is_refused(goectp, model, tmp_path):
    (tmp_path / 'MgO.cif').write_text(tiny.CIF)
    for command in ('predict', 'prepare'):
        assert 'out.npz' in goectp(command, 'MgO.cif', '-o', 'out.csv', status=2).stderr
    assert not (tmp_path / 'out.csv').exists()
