"""Tables of verifications: frequencies at Γ, and verifications without them."""

from types import SimpleNamespace

import pytest
from aiida import orm

from aiida_goectp.cli.views.verifications import frequencies_table, show_verification
from aiida_goectp.core.dielectric.frequencies import OTHER_CELL
from aiida_goectp.core.formats.text_tables import show_table
from tests.cli.runner import flat, line_with

PARTS = {'strain': 0.0, 'angle': 0.0} | {
    part: dict.fromkeys(
        ('dfpt', 'dfpt_average', 'predicted', 'predicted_average', 'error', 'tensor_error'),
    )
    for part in ('electronic', 'ionic', 'total')
}
SUMMARY = {'rows': [], 'counts': {'accepted': 2}, 'calculations': 2, 'reused': 0, 'core_hours': 0.5}


def row(name, predicted, dfpt, error=None, problem='', atoms=(2, 2), **more):
    phonons = {
        'predicted': predicted,
        'dfpt': dfpt,
        'mean_absolute_error': error,
        'problem': problem,
        'atoms': dict(zip(('predicted', 'dfpt'), atoms, strict=True)),
    }
    return {'structure': f's-{name}', 'rank': 1, 'id': name, 'phonons': phonons, **PARTS, **more}


@pytest.fixture
def rows():
    return [
        row('MgO', [10.5, 10.5, 12.25], [11.0, 11.0, 12.0], 0.416, stability=0.987),
        row('NaCl', [-1.5, 2.0, 3.0], [0.5, 1.0, 4.0, 5.0, 5.0, 5.5, 6.0, 6.0, 7.0], None, OTHER_CELL, (2, 4)),
        row('KCl', [4.0, 4.0, 4.5], None),
    ]


def test_frequencies_of_each_crystal(rows, capsys):
    show_table(frequencies_table(rows))
    output = capsys.readouterr().out
    assert line_with(output, 'MgO') == '1 MgO 0.99 3 10.50 11.00 12.25 12.00 0.42'
    assert line_with(output, 'NaCl') == '1 NaCl cells of 2 and 4 atoms 3 -1.50 0.50 3.00 7.00'
    assert line_with(output, 'KCl') == '1 KCl 3 4.00 4.50'


def test_empty_columns_are_left_out(rows, capsys):
    show_table(frequencies_table(rows[2:]))
    output = capsys.readouterr().out
    assert 'stable' not in output
    assert 'remarks' not in output


@pytest.mark.parametrize('with_phonons', [True, False])
def test_verifications_with_and_without_frequencies(rows, with_phonons, aiida_profile, capsys):
    """Verifications of earlier versions have no entry ``phonons``."""
    if not with_phonons:
        for item in rows:
            del item['phonons']
    comparison = orm.Dict({'rows': rows}).store()
    show_verification(SimpleNamespace(summary=orm.Dict(SUMMARY), comparison=comparison), 2)
    output = flat(capsys.readouterr().out)
    assert ('Optical frequencies' in output) == with_phonons
    assert (f'verdi data core.dict show {comparison.pk}' in output) == with_phonons
    assert '2 accepted; 2 calculations, 0 reused, 0.50 core-hours' in output
    assert 'KCl' not in output  # two rows were asked for
