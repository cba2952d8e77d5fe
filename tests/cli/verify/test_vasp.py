"""``aiida-goectp verify --engine vasp`` with the replay of VASP."""

from __future__ import annotations

import re

import pytest
from aiida import orm

from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests.cli.runner import invoke, line_with
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.workflows.campaign.campaign import screened


@pytest.mark.slow
def test_verification_of_imported_crystals(replay_code, potcar_family, crystal_set):
    """Measured cells of MgO and AlN against published results; the first run of AlN fails and is restarted."""
    inputs, _ = screened(crystal_set.take([1, 5]), number=2)
    code = replay_code('symmetry@AlN')
    arguments = ['verify', inputs['selection'].pk, '--engine', 'vasp', '--code', code.full_label, '--no-relax']
    arguments += ['--potentials', potcar_family('Mg_pv', 'O', 'Al', 'N'), '--protocol', 'fast', '--processes', '1']
    output = invoke(*arguments)
    assert '2 accepted' in output
    magnesia = line_with(output, 'MgO')
    assert re.search(r'ε∞ 3\.52 3\.52 3\.52 3\.\d\d 3\.\d\d 3\.\d\d .*accepted', magnesia), magnesia

    (chain,) = inputs['selection'].base.links.get_outgoing(VerifyWorkChain).all_nodes()
    made = [node for process in chain.called_descendants for node in process.base.links.get_outgoing().all_nodes()]
    responses = {node.uuid: node for node in made if isinstance(node, DielectricData)}
    assert len(responses) >= 2
    for response in responses.values():
        above = orm.QueryBuilder().append(orm.Data, filters={'id': response.pk}, tag='response')
        above.append(orm.SinglefileData, with_descendants='response', project='attributes.filename')
        assert 'textbook.npz' in above.all(flat=True)
