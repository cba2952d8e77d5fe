"""``aiida-goectp fetch materials-project``."""

import gzip
import json

import pytest
from aiida import orm

from aiida_goectp.cli.queries import latest_node
from tests.cli.runner import flat, invoke
from tests.databases.materials_server import KEY, materials_server

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


@pytest.fixture(scope='module')
def served():
    with materials_server() as (url, plan):
        yield url, plan


@pytest.fixture
def server(served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MP_API_KEY', KEY)
    served[1].answers.clear()
    return served


def test_interrupted_download_resumes_and_is_stored_without_the_key(server, tmp_path, monkeypatch):
    url, plan = server
    arguments = ('fetch', 'materials-project', '--url', url, '--delay', 0, '--page-limit', 4, '--label', 'oxides')
    arguments = (*arguments, '--filter', 'elements=Mg,O', '--column', 'eps_mp=e_electronic')
    plan.answers += [200, 500]
    output = invoke(*arguments, status=1)
    assert 'HTTP 500' in flat(output)
    assert KEY not in output
    (partial,) = tmp_path.iterdir()
    assert KEY not in partial.read_text()
    assert orm.QueryBuilder().append(orm.Node).count() == 0
    monkeypatch.delenv('MP_API_KEY')
    (tmp_path / 'key').write_text(f'{KEY}\n')
    output = invoke(*arguments, '--api-key-file', 'key')
    assert 'resuming' in output
    assert KEY not in output
    node = latest_node('goectp.crystals')
    assert f'crystals node {node.pk}: 5 crystals, 1 failures' in output
    assert node.label == 'oxides'
    assert node.crystals.ids.tolist()[0] == 'mp-1265'
    assert node.crystals.properties['eps_mp'].tolist()[:2] == [4, 4.02]
    assert [path.name for path in tmp_path.iterdir()] == ['key']
    query = node.creator.inputs.query.get_dict()
    assert query.pop('date').endswith('+00:00')
    assert query == {
        'source': 'materials-project',
        'url': url,
        'filter': {'elements': 'Mg,O', 'deprecated': False},
        'columns': {
            'band_gap': 'band_gap',
            'energy_above_hull': 'e_above_hull',
            'formula_pretty': 'formula_pretty',
            'e_electronic': 'eps_mp',
        },
        'max': 10_000,
        'database_version': '2025.09.25',
        'entries': 6,
    }
    file = node.creator.inputs.file_00000
    assert file.filename == 'structures.pymatgen.jsonl.gz'
    documents = [json.loads(line) for line in gzip.decompress(file.content).splitlines()]
    assert [document['material_id'] for document in documents][-1] == 'mp-1290'
    assert KEY not in json.dumps(documents)


def test_limit_is_reported(server):
    output = flat(invoke('fetch', 'materials-project', '--url', server[0], '--delay', 0, '--max', 2))
    assert '6 entries, of which 2' in output
    assert len(latest_node('goectp.crystals')) == 2


@pytest.mark.parametrize(
    ('options', 'named', 'status'),
    [
        (['--filter', 'nsits_max=20'], 'nsites_max', 1),
        (['--filter', 'nsites_max'], 'NAME=VALUE', 2),
        (['--filter', 'nsites_max=1', '--filter', 'nsites_max=2'], 'twice', 2),
        (['--column', 'gap=band_gab'], 'band_gap', 1),
        (['--filter', 'elements=Mg,Xe'], 'no entry', 1),
        (['--api-key-file', 'wrong'], 'HTTP 401', 1),
        (['--api-key-file', 'empty'], 'no API key', 1),
        (['--url', 'http://example.org'], 'https', 1),
    ],
)
def test_what_is_refused_stores_nothing(server, tmp_path, options, named, status):
    (tmp_path / 'wrong').write_text('wr0ng-k3y')
    (tmp_path / 'empty').write_text('\n')
    output = invoke('fetch', 'materials-project', '--url', server[0], '--delay', 0, *options, status=status)
    assert named in flat(output)
    assert 'wr0ng-k3y' not in output
    assert KEY not in output
    assert orm.QueryBuilder().append(orm.Node).count() == 0
    assert {path.name for path in tmp_path.iterdir()} == {'wrong', 'empty'}


def test_without_a_key(server, monkeypatch):
    monkeypatch.delenv('MP_API_KEY')
    assert 'MP_API_KEY' in flat(invoke('fetch', 'materials-project', '--url', server[0], status=1))
