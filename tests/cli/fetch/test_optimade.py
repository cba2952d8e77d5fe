"""``aiida-goectp fetch optimade``."""

import pytest
from aiida import orm

from aiida_goectp.cli.queries import latest_node
from tests.cli.runner import flat, invoke
from tests.databases.server import optimade_server

pytestmark = pytest.mark.usefixtures('aiida_profile_clean')


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    with optimade_server(tmp_path_factory.mktemp('server')) as (url, plan):
        yield url, plan


def test_optimade(server, tmp_path, monkeypatch):
    url, plan = server
    monkeypatch.chdir(tmp_path)
    arguments = ('fetch', 'optimade', url, '--filter', 'elements HAS "O"', '--delay', 0, '--page-limit', 2)
    arguments = (*arguments, '--column', 'band_gap=_exmpl_gap', '--label', 'oxides')
    plan.answers += [200, 500]
    assert 'planned' in flat(invoke(*arguments, status=1))
    (partial,) = tmp_path.iterdir()
    assert partial.suffix == '.partial'
    assert orm.QueryBuilder().append(orm.Node).count() == 0
    output = invoke(*arguments)
    assert '2 entries' in output
    assert 'resuming' in output
    node = latest_node('goectp.crystals')
    assert node.label == 'oxides'
    assert node.crystals.properties['band_gap'].tolist() == [0, 1, 2, 3, 4]
    assert f'crystals node {node.pk}: 5 crystals, 1 failures' in output
    assert list(tmp_path.iterdir()) == []
    query = node.creator.inputs.query.get_dict()
    assert query.pop('date').endswith('+00:00')
    assert query == {
        'source': 'optimade',
        'url': url,
        'filter': 'elements HAS "O"',
        'columns': {'_exmpl_gap': 'band_gap'},
        'max': 10_000,
        'entries': 6,
    }
    assert node.creator.inputs.file_00000.filename == 'structures.optimade.jsonl.gz'


@pytest.mark.parametrize(
    ('options', 'named', 'status'),
    [
        (['--filter', 'nsites <'], 'not a filter', 1),
        (['--column', 'band_gap'], 'COLUMN=PROPERTY', 2),
        (['--column', 'band_gap=_exmpl_gab'], '_exmpl_gap', 1),
        (['--filter', 'elements HAS "Rn"'], 'no entry', 1),
    ],
)
def test_invalid_queries_store_nothing(server, tmp_path, monkeypatch, options, named, status):
    monkeypatch.chdir(tmp_path)
    assert named in flat(invoke('fetch', 'optimade', server[0], '--delay', 0, *options, status=status))
    assert orm.QueryBuilder().append(orm.Node).count() == 0
    assert list(tmp_path.iterdir()) == []
