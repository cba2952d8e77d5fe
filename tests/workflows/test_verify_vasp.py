"""A verification from the command line, by the VASP engine on a replay of published tensors."""

import re

import numpy as np
import pytest
from aiida import orm
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.data.crystals import structure_from_crystal
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.rows import response_of
from tests.workflows.campaign import campaign


@pytest.mark.slow
def test_predicted_and_computed_side_by_side(replay_code, potcar_family, replayed, monkeypatch):
    rows = {name: replayed(name) for name in ('mp-1265', 'mp-856')}  # MgO, SnO2
    responses = {name: response_of(row) for name, row in rows.items()}
    diagonals = {name: np.diag(item.electronic) for name, item in responses.items()}
    monkeypatch.setattr(campaign, 'DIAGONALS', diagonals)
    inputs, _ = campaign.screened(CrystalSet.from_crystals([item.crystal for item in responses.values()]), 2)
    family = potcar_family('Mg_pv', 'Sn_d', 'O')
    arguments = ['verify', str(inputs['selection'].pk), '--engine', 'vasp', '--code', replay_code().full_label]
    arguments += ['--potentials', family, '--protocol', 'fast', '--no-relax', '--processes', '1']

    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    text = re.sub(r'[^\S\n]+', ' ', result.output)
    assert '2 accepted; 2 calculations, 0 reused' in text
    line = next(line for line in text.splitlines() if line.strip().startswith('1 mp-856 ε∞'))
    expected = '  '.join(f'{value:.2f}' for value in diagonals['mp-856'])
    assert re.sub(r'\s+', ' ', expected) in line
    assert '+10%' in line

    # the same once more costs nothing, and from the label the way leads to the imported file
    again = CliRunner().invoke(main, arguments)
    assert '2 accepted; 0 calculations, 2 reused' in re.sub(r'[^\S\n]+', ' ', again.output), again.output
    waiting, files, jobs = [_last_verification().outputs.accepted['rank_00001']], set(), set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, orm.SinglefileData):
            files.add(item.filename)
        if item.creator is not None:
            if isinstance(item.creator, orm.CalcJobNode):
                jobs.add(item.creator.process_label)
            waiting += item.creator.base.links.get_incoming(node_class=orm.Data).all_nodes()
    assert 'textbook.npz' in files
    assert jobs == {'VaspCalculation'}


@pytest.mark.slow
def test_predicted_frequencies_beside_those_of_vasp(replay_code, potcar_family, replayed):
    """A structure without a screen, by the shipped model with force constants; the replay has one frequency for all."""
    row = replayed('mp-1265')  # MgO
    structure = structure_from_crystal(response_of(row).crystal).store()
    arguments = [
        'verify',
        str(structure.pk),
        '--model',
        'goectp',
        '--engine',
        'vasp',
        '--code',
        replay_code().full_label,
    ]
    arguments += ['--potentials', potcar_family('Mg_pv', 'O'), '--protocol', 'fast', '--no-relax', '--processes', '1']
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    compared = _last_verification().outputs.comparison.get_dict()['rows'][0]
    phonons = compared['phonons']
    assert (phonons['atoms'], phonons['problem']) == ({'predicted': 2, 'dfpt': 2}, '')
    assert np.allclose(phonons['dfpt'], [row['freq_min_opt_THz']] * 3, atol=1e-6)
    assert np.allclose(phonons['predicted'], 12.0, atol=1.0)  # infrared: Phys. Rev. 146, 526 (1966)
    assert np.isclose(phonons['mean_absolute_error'], phonons['predicted'][0] - phonons['dfpt'][0], atol=1e-4)
    assert compared['stability'] > 0.9


def _last_verification():
    node = orm.QueryBuilder().append(orm.WorkChainNode, filters={'attributes.process_label': 'VerifyWorkChain'})
    return node.order_by({orm.WorkChainNode: {'id': 'desc'}}).first(flat=True)
