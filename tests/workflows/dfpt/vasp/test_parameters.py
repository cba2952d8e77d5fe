"""INCAR tags and values that are refused before a job is submitted."""

from __future__ import annotations

import pytest

from aiida_goectp.workflows.dfpt.vasp.parameters import incar_errors


@pytest.mark.parametrize(
    ('tag', 'right', 'wrong'),
    [
        ('encut', [520, 520.0, '520', ' 5.2e2 '], ['abc', '520 eV', -520, 0, True, float('nan'), None]),
        ('EDIFF', [1e-8, '1E-8', '1.d-8'], [-1e-8, '1e-8 1', '']),
        ('ediffg', [-0.01, '-0.01', 0], ['small']),
        ('nelm', [60, 60.0, '60'], [60.5, '60.5', 0, -1]),
        ('lepsilon', [True, False, '.TRUE.', 'T', '.false.', 'F'], [1, 'yes', '']),
        ('algo', ['Normal', 'Fast'], []),
        ('magmom', [[1.0, 0.0], '2*0.0 1.0'], []),
        ('ngx', [48], ['many']),
        ('lreal', [False, 'Auto', '.FALSE.'], []),
        ('encutt', [], [520]),
        ('nelect', [], [40]),
    ],
)
def test_values_of_tags(tag, right, wrong):
    for value in right:
        assert not list(incar_errors('p', {tag: value})), value
    for value in wrong:
        (error,) = incar_errors('p', {tag: value})
        assert error.startswith(f'p.{tag}: '), value
