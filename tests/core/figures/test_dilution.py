"""Layers pulled apart: the right parts of the tensors are drawn."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.figures import Dilution, dilution_figure


def test_within_and_across_the_layers_in_any_frame():
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    tensors = np.array([np.diag([9.0, 7.0, 4.0 - step]) for step in range(3)])
    turned = turn @ tensors @ turn.T
    gaps = np.array([3.0, 4.0, 5.0])
    crystal = Dilution('MoS2', turn[:, 2], gaps, turned, turned + np.eye(3), turned / 10, turned[0])
    figure = dilution_figure([crystal, crystal._replace(name='other', deviation=None, computed=None)])
    within, other, across, _ = figure.axes
    assert [within.get_title(), other.get_title()] == ['MoS2', 'other']
    lines = {line.get_label(): line for line in within.get_lines()}
    np.testing.assert_allclose(lines['electrostatics'].get_ydata(), [9, 9, 9])
    np.testing.assert_allclose(lines['DFPT'].get_ydata(), [8])
    drawn = [line.get_ydata() for line in across.get_lines() if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(drawn, [[5, 4, 3], [4, 3, 2]])
    assert len(other.get_lines()) == len(within.get_lines()) - 1
    assert 'Å' in across.get_xlabel()
