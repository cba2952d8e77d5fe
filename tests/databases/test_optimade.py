"""Download from the reference server of OPTIMADE, started here."""

import pytest

from aiida_goectp.core.crystals import read_bytes
from aiida_goectp.databases.download import Download, DownloadError, download
from aiida_goectp.databases.optimade import KNOWN_COLUMNS, Optimade, check_filter, file_content
from tests.databases.server import optimade_server

OXIDES = 'elements HAS "O"'


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    with optimade_server(tmp_path_factory.mktemp('server')) as (url, plan):
        yield url, plan


@pytest.fixture
def server(served):
    url, plan = served
    plan.asked.clear()
    plan.answers.clear()
    return Optimade(url, 0.0), plan


def start(folder, filter=OXIDES):
    return Download(folder, {'source': 'optimade', 'filter': filter})


def test_all_pages_become_crystals_with_columns(server, tmp_path):
    database, plan = server
    columns = database.columns({'_exmpl_gap': 'band_gap'})
    part = start(tmp_path)
    download(part, database.pages(OXIDES, list(columns), 2, part.next), None)
    assert (part.number, part.total, part.complete) == (6, 6, True)
    assert len(plan.pages()) == 3
    crystals = read_bytes('some.optimade.jsonl.gz', file_content(part, columns))
    assert crystals.ids.tolist() == [f'ox-{number}' for number in range(5)]
    assert crystals.properties['band_gap'].tolist() == [0, 1, 2, 3, 4]
    assert [(failure.id, failure.code) for failure in crystals.failures] == [('alloy', 'partial_occupancy')]


def test_limit(server, tmp_path):
    part = start(tmp_path)
    download(part, server[0].pages(OXIDES, [], 2, None), 3)
    assert part.number == 3
    assert len(server[1].pages()) == 2


def test_interrupted_download_resumes_after_its_last_page(server, tmp_path):
    database, plan = server
    part = start(tmp_path)
    plan.answers += [200, 500]
    with pytest.raises(DownloadError, match='planned'):
        download(part, database.pages(OXIDES, [], 2, None), None)
    with part.path.open('ab') as stream:
        stream.write(b'{"id": "torn')
    plan.asked.clear()
    again = start(tmp_path)
    assert (again.number, again.complete) == (2, False)
    download(again, database.pages(OXIDES, [], 2, again.next), None)
    assert len(plan.pages()) == 2
    whole = start(tmp_path / '..', 'other')
    download(whole, database.pages(OXIDES, [], 2, None), None)
    assert list(again.lines()) == list(whole.lines())
    whole.remove()


def test_a_busy_database_is_asked_again(server):
    database, plan = server
    plan.answers += [429, 503]
    assert len(next(database.pages(OXIDES, [], 2, None)).entries) == 2
    assert len(plan.pages()) == 3


def test_no_entry(server, tmp_path):
    part = start(tmp_path)
    with pytest.raises(DownloadError, match='no entry'):
        download(part, server[0].pages('elements HAS "Rn"', [], 2, None), None)
    assert not part.path.exists()


def test_unknown_property_is_refused_with_the_known_ones(server):
    with pytest.raises(DownloadError, match='_exmpl_gap'):
        server[0].columns({'_exmpl_gab': 'band_gap'})
    assert server[0].columns({}) == {}
    assert set(KNOWN_COLUMNS.values()) == {'band_gap', 'e_above_hull'}


@pytest.mark.parametrize('text', ['elements HAS "O', 'nsites =', 'drop table'])
def test_filters_are_checked_before_anything_is_asked(text):
    with pytest.raises(DownloadError, match='OPTIMADE'):
        check_filter(text)


def test_addresses():
    with pytest.raises(DownloadError, match='URL'):
        Optimade('ftp://example.org')
    with pytest.raises(DownloadError, match='user name'):
        Optimade('https://me:secret@example.org')
    with pytest.raises(DownloadError, match='base URL') as caught:
        Optimade('https://example.org/optimade?api_key=secret')
    assert 'secret' not in str(caught.value)
