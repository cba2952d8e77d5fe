"""Budgets of calculations and core-hours."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_goectp.workflows.budget import Budget


@pytest.mark.parametrize(
    ('limits', 'calculations', 'hours', 'named'),
    [
        ({}, 10**6, 1e9, ''),
        ({'max_calculations': 3}, 2, 1e9, ''),
        ({'max_calculations': 3}, 3, 0.0, '3 calculations'),
        ({'max_core_hours': 0.5}, 9, 0.49, ''),
        ({'max_core_hours': 0.5}, 9, 0.5, '0.5 core-hours'),
        ({'max_calculations': 0, 'max_core_hours': 0.5}, 0, 0.0, '0 calculations'),
    ],
)
def test_exhausted_budget_is_named(aiida_profile, limits, calculations, hours, named):
    nodes = {name: orm.to_aiida_type(value) for name, value in limits.items()}
    reason = Budget.of(nodes).exhausted(calculations, hours)
    assert bool(reason) == bool(named)
    assert named in reason
