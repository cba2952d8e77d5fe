"""Occupations and number of bands of pw.x, from the electrons and the spin."""

from __future__ import annotations

import pytest

pytest.importorskip('aiida_quantumespresso')

from aiida_goectp.workflows.dfpt.quantumespresso.parameters import occupations


@pytest.mark.parametrize(
    ('electrons', 'system', 'bands'),
    [
        (16, {}, 10),  # MgO
        (16, {'nspin': 1, 'tot_magnetization': 6}, 10),
        (16, {'nspin': 2}, 10),
        (16, {'nspin': 2, 'tot_magnetization': 6}, 13),  # 11 up, 5 down
        (16, {'nspin': 2, 'tot_magnetization': -6.0}, 13),
        (16, {'noncolin': True}, 18),
        (16, {'nspin': 4}, 18),
        (17, {'nspin': 2, 'tot_magnetization': 1}, 11),
        (17, {'noncolin': True}, 19),
        (17, {}, None),
        (17, {'noncolin': False}, None),
    ],
)
def test_bands_of_each_spin(electrons, system, bands):
    expected = None if bands is None else {'occupations': 'fixed', 'nbnd': bands}
    assert occupations(electrons, system) == expected
