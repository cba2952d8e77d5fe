"""Download from a local server that answers in the documented form of the Materials Project."""

import numpy as np
import pytest

from aiida_goectp.core.crystals import read_bytes
from aiida_goectp.databases.download import Download, DownloadError, download
from aiida_goectp.databases.materials_project import (
    MaterialsProject,
    check_key,
    file_content,
    named_columns,
    read_filter,
)
from tests.databases.materials_server import KEY, materials_server

OXIDES = {'elements': 'Mg,O', 'deprecated': False}


@pytest.fixture(scope='module')
def served():
    with materials_server() as (url, plan):
        yield url, plan


@pytest.fixture
def server(served):
    url, plan = served
    plan.asked.clear()
    plan.answers.clear()
    return MaterialsProject(KEY, url, 0.0), plan


def start(folder):
    return Download(folder, {'source': 'materials-project', 'filter': OXIDES})


def test_all_pages_become_crystals_with_columns(server, tmp_path):
    service, plan = server
    columns = named_columns({'e_electronic': 'eps_mp'})
    part = start(tmp_path)
    download(part, service.pages(OXIDES, list(columns), 4, 100, part.next), None)
    assert (part.number, part.total, part.complete) == (6, 6, True)
    first, second = plan.queries()
    assert (first['_skip'], second['_skip'], first['_limit']) == ('0', '4', '4')
    assert (first['elements'], first['deprecated'], first['_all_fields']) == ('Mg,O', 'false', 'false')
    assert first['_fields'] == 'material_id,structure,band_gap,energy_above_hull,formula_pretty,e_electronic'
    crystals = read_bytes('a.pymatgen.jsonl.gz', file_content(part, columns))
    assert crystals.ids.tolist() == ['mp-1265', 'mp-1266', 'mp-1267', 'mp-1268', 'mp-1280']
    properties = crystals.properties
    assert set(properties) == {'band_gap', 'e_above_hull', 'formula_pretty', 'eps_mp'}
    assert properties['band_gap'].tolist() == [4, 5, 6, 7, 5]
    np.testing.assert_array_equal(properties['e_above_hull'], [0, 0.01, 0.02, 0.03, np.nan])
    assert set(properties['formula_pretty'].tolist()) == {'MgO'}
    assert [(failure.id, failure.code) for failure in crystals.failures] == [('mp-1290', 'partial_occupancy')]


def test_limit_is_also_that_of_the_request(server, tmp_path):
    part = start(tmp_path)
    download(part, server[0].pages(OXIDES, [], 2, 3, None), 3)
    assert part.number == 3
    assert [query['_limit'] for query in server[1].queries()] == ['2', '1']


def test_interrupted_download_resumes_after_its_last_page(server, tmp_path):
    service, plan = server
    part = start(tmp_path)
    plan.answers += [200, 500]
    with pytest.raises(DownloadError, match='HTTP 500'):
        download(part, service.pages(OXIDES, [], 4, 100, None), None)
    plan.asked.clear()
    again = start(tmp_path)
    assert (again.number, again.next) == (4, 4)
    download(again, service.pages(OXIDES, [], 4, 100, again.next), None)
    assert [query['_skip'] for query in plan.queries()] == ['4']
    assert again.number == 6


def test_a_busy_service_is_asked_again(server):
    service, plan = server
    plan.answers += [429, 503]
    assert len(next(service.pages(OXIDES, [], 2, 100, None)).entries) == 2
    assert len(plan.queries()) == 3


@pytest.mark.parametrize(
    ('status', 'named'), [(401, 'API key'), (403, 'API key'), (422, 'query.nsites_max: planned'), (302, 'HTTP 302')]
)
def test_refusals_name_the_reason_and_never_the_key(server, tmp_path, status, named):
    service, plan = server
    plan.answers.append(status)
    part = start(tmp_path)
    with pytest.raises(DownloadError, match=named) as caught:
        download(part, service.pages(OXIDES, [], 2, 100, None), None)
    assert KEY not in str(caught.value)
    assert '***' in str(caught.value)
    assert not part.path.exists()
    assert [path for path, _ in plan.asked] == ['/materials/summary/']


def test_a_wrong_key_is_refused(server):
    wrong = MaterialsProject('wrong-key', server[0].url, 0.0)
    assert wrong.version() == '2025.09.25'
    with pytest.raises(DownloadError, match='HTTP 401') as caught:
        next(wrong.pages(OXIDES, [], 2, 100, None))
    assert 'wrong-key' not in str(caught.value)


@pytest.mark.parametrize('url', ['http://example.org', 'ftp://127.0.0.1', 'https://me:secret@example.org'])
def test_addresses(url):
    with pytest.raises(DownloadError):
        MaterialsProject(KEY, url)


@pytest.mark.parametrize('text', [None, ' \n', 'two keys', 'kéy'])
def test_keys(text):
    with pytest.raises(DownloadError, match='the file') as caught:
        check_key(text, 'the file')
    assert not (text or '').strip() or text not in str(caught.value)
    assert check_key(f'{KEY}\n', 'the file') == KEY


def test_filters():
    given = {'elements': 'Ti, O', 'nsites_max': '20', 'band_gap_min': '1.5', 'is_stable': 'true', 'chemsys': 'Ti-*'}
    checked = {'elements': 'Ti,O', 'nsites_max': 20, 'band_gap_min': 1.5, 'is_stable': True, 'chemsys': 'Ti-*'}
    assert read_filter(given) == checked | {'deprecated': False}
    assert read_filter({'deprecated': 'true'}) == {'deprecated': True}


@pytest.mark.parametrize(
    ('name', 'value', 'named'),
    [
        ('nsits_max', '20', 'nsites_max'),
        ('_limit', '5', '_limit'),
        ('X-API-KEY', 'a', 'X-API-KEY'),
        ('nsites_max', 'many', 'nsites_max'),
        ('band_gap_min', 'nan', 'band_gap_min'),
        ('elements', 'Ti,Oo', 'Oo'),
        ('chemsys', 'Ti--O', 'chemsys'),
        ('formula', 'TiO2&x=1', 'formula'),
        ('material_ids', 'mp-1,149', '149'),
        ('spacegroup_number', '231', 'spacegroup_number'),
        ('crystal_system', 'cubical', 'Cubic'),
    ],
)
def test_invalid_filters_are_refused(name, value, named):
    with pytest.raises(DownloadError, match=named):
        read_filter({name: value})


def test_reversed_ranges_are_refused():
    with pytest.raises(DownloadError, match='band_gap_min=3'):
        read_filter({'band_gap_min': '3', 'band_gap_max': '2'})


def test_columns():
    assert named_columns({'n': 'band_gap'}) == {
        'energy_above_hull': 'e_above_hull',
        'formula_pretty': 'formula_pretty',
        'n': 'band_gap',
    }
    with pytest.raises(DownloadError, match='is_gap_direct'):
        named_columns({'is_gap_dirct': 'direct'})
    with pytest.raises(DownloadError, match='reserved'):
        named_columns({'n': 'structure'})
