"""Layered crystals with increasing vacuum: components within and across the layers."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.figures import VacuumSeries, vacuum_figure


def test_components_do_not_depend_on_the_frame():
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    tensors = np.array([np.diag([9.0, 7.0, 4.0 - step]) for step in range(3)])
    rotated = rotation @ tensors @ rotation.T
    gaps = np.array([3.0, 4.0, 5.0])
    crystal = VacuumSeries('MoS2', rotation[:, 2], gaps, rotated, rotated + np.eye(3), rotated / 10, rotated[0])
    figure = vacuum_figure([crystal, crystal._replace(name='other', deviation=None, computed=None)])
    within, other, across, _ = figure.axes
    assert [within.get_title(), other.get_title()] == ['MoS2', 'other']
    lines = {line.get_label(): line for line in within.get_lines()}
    np.testing.assert_allclose(lines['electrostatics'].get_ydata(), [9, 9, 9])
    np.testing.assert_allclose(lines['DFPT'].get_ydata(), [8])
    drawn = [line.get_ydata() for line in across.get_lines() if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(drawn, [[5, 4, 3], [4, 3, 2]])
    assert len(other.get_lines()) == len(within.get_lines()) - 1
    assert 'Å' in across.get_xlabel()
