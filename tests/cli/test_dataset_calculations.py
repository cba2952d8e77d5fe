"""``aiida-goectp dataset import-calculations``."""

from __future__ import annotations

import gzip
import json

import pytest
from aiida import orm
from aiida.common.links import LinkType
from click.testing import CliRunner

from aiida_goectp.cli import main
from aiida_goectp.cli.queries import latest_node
from tests.cli.runner import flat, invoke
from tests.rows import DATA
from tests.workflows.dfpt.vasp.runs import LENIENT, parse

FINISHED = DATA / 'finished'

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with one damaged calculation, and a link, which is not followed."""
    top = tmp_path_factory.mktemp('runs')
    (top / 'cut').mkdir()
    (top / 'cut/vasprun.xml.gz').write_bytes((FINISHED / 'sno2/vasprun.xml.gz').read_bytes()[:-2000])
    (top / 'good').symlink_to(FINISHED)
    return top


def test_import_and_its_provenance(folder):
    options = ('--label', 'mine', '--threshold', 'insulating', 3)
    output = invoke('dataset', 'import-calculations', folder, FINISHED, *options)
    node = latest_node('goectp.dataset')
    assert f'dataset node {node.pk}: 3 rows, 2 trainable (2 with electronic, 2 with ionic label)' in flat(output)
    for words in ('refused', 'unreadable file', 'Equal crystals', 'accepted', 'cut'):
        assert words in output
    assert (node.label, node.creator.process_label) == ('mine', 'import_calculations')
    sources = node.creator.inputs.sources.get_list()
    assert [item['program'] for item in sources] == ['vasp', 'quantumespresso', 'quantumespresso', 'vasp']
    assert all(len(digest) == 64 for item in sources for digest in item['files'].values())
    assert node.creator.inputs.responses.base.repository.list_object_names() == [
        f'calculation_{place:05d}.npz' for place in (1, 2, 3)
    ]
    assert node.creator.inputs.thresholds.get_dict() == {'insulating': 3.0}
    assert node.dataset.failed_gates.tolist() == ['', '', 'insulating']
    assert [item.code for item in node.dataset.crystals.failures] == ['unreadable_file']
    assert 'Not imported' in invoke('show', node.creator.outputs.report.pk)


def test_json_and_join():
    result = CliRunner().invoke(main, ['dataset', 'import-calculations', str(FINISHED), '--join', '--json'])
    report = json.loads(result.stdout)
    assert report['pk'] == latest_node('goectp.dataset').pk
    assert (report['calculations'], report['rows'], report['joined']) == (3, 2, True)


def test_invalid_input_stores_nothing(folder, tmp_path):
    before = latest_node('goectp.dataset')
    (tmp_path / 'empty').mkdir()
    assert 'no calculation' in flat(invoke('dataset', 'import-calculations', tmp_path, status=2))
    invoke('dataset', 'import-calculations', FINISHED, '--functional', 'PBEsoul', status=2)
    invoke('dataset', 'import-calculations', FINISHED, '--threshold', 'gap', 1, status=2)
    assert (before and before.pk) == getattr(latest_node('goectp.dataset'), 'pk', None)
    output = invoke('dataset', 'import-calculations', folder / 'cut', '--functional', 'PBE', status=1)
    assert 'no calculation gives a row' in flat(output)


def test_functional_without_a_name(tmp_path):
    (tmp_path / 'vasprun.xml.gz').write_bytes((FINISHED / 'sno2/vasprun.xml.gz').read_bytes())
    (tmp_path / 'INCAR').write_text('LUSE_VDW = T\n')
    output = invoke('dataset', 'import-calculations', tmp_path, '--functional', 'PBE', '--raw', status=1)
    assert 'unnamed functional' in flat(output)
    output = invoke('dataset', 'import-calculations', tmp_path, '--unnamed-functional', 'optB88-vdW')
    assert 'luse_vdw' in output
    node = latest_node('goectp.dataset')
    assert node.dataset.functional.tolist() == ['optB88-vdW']
    assert node.creator.inputs.unnamed_functional.value == 'optB88-vdW'


def test_calculations_of_a_group(aiida_localhost):
    """A job with the files of a real run, a work chain around it, one without files, and another node."""
    files = {'vasprun.xml': gzip.decompress((FINISHED / 'sno2/vasprun.xml.gz').read_bytes())}
    *_, job = parse(aiida_localhost, files, {'lepsilon': True}, LENIENT, whole=True)
    job.label = 'rutile'
    chain = orm.WorkChainNode().store()
    empty = orm.CalcJobNode(computer=aiida_localhost, process_type='aiida.calculations:vasp.vasp')
    empty.set_option('resources', {'num_machines': 1})
    empty.base.links.add_incoming(chain, LinkType.CALL_CALC, 'CALL')
    empty.store()
    group = orm.Group('old runs').store()
    group.add_nodes([job, chain, orm.Int(1).store()])
    invoke('dataset', 'import-calculations', '--group', 'old runs')
    node = latest_node('goectp.dataset')
    assert node.dataset.crystals.ids.tolist() == ['rutile']
    assert node.dataset.functional.tolist() == ['PBEsol']
    assert node.dataset.origin[0].startswith(f'{job.uuid}/vasprun.xml sha256:')
    assert [(item.id, item.code) for item in node.dataset.crystals.failures] == [
        (f'vasp_{empty.uuid[:8]}', 'missing_file')
    ]
    assert job.outputs.retrieved.uuid in {item.uuid for item in node.creator.base.links.get_incoming().all_nodes()}
    orm.Group('nothing').store()
    for arguments in (('--group', 'nothing'), ('--group', 'none'), ('--group', 'old runs', FINISHED), ()):
        invoke('dataset', 'import-calculations', *arguments, status=2)
