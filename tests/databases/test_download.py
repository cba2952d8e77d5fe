"""Pages of a download."""

from itertools import islice

import pytest

from aiida_goectp.databases.download import DownloadError, Page, iterate_pages


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
