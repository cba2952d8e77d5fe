"""Pages of a download."""

from itertools import islice

import pytest

from aiida_goectp.databases.download import Download, DownloadError, Page, download, iterate_pages


def test_pages_that_lead_back_are_refused():
    following = {None: 'b', 'b': 'c', 'c': 'b'}
    pages = iterate_pages(lambda start: Page([{}], following[start], None), None, 0.0)
    assert [page.next for page in islice(pages, 3)] == ['b', 'c', 'b']
    with pytest.raises(DownloadError, match='circle'):
        next(pages)


def test_the_longer_pause_counts(monkeypatch):
    pauses = []
    monkeypatch.setattr('time.sleep', pauses.append)
    answers = [Page([], 1, None, 2.0), Page([], 2, None, 1e6), Page([], 3, None), Page([], None, None, 9.0)]
    assert len(list(iterate_pages(lambda start: answers[start], 0, 0.5))) == 4
    assert pauses == [2.0, 60.0, 0.5]


def test_a_download_is_not_continued_from_another_list_of_entries(tmp_path):
    query = {'source': 'optimade'}
    with pytest.raises(DownloadError, match='broken'):
        download(Download(tmp_path, query), broken_after(Page([{'id': 'a'}], 1, 2)), None, quiet=True)
    with pytest.raises(DownloadError, match=r'changed: 3 .* 2 '):
        download(Download(tmp_path, query), iter([Page([{'id': 'b'}], None, 3)]), None, quiet=True)
    for total in (2, None):
        part = Download(tmp_path, query)
        assert part.number == 1
        download(part, iter([Page([{'id': 'b'}], None, total)]), None, quiet=True)
        assert part.complete
        part.path.write_bytes(b''.join(part.path.read_bytes().splitlines(keepends=True)[:3]))


def broken_after(page):
    yield page
    raise DownloadError('broken')
