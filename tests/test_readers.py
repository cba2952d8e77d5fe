"""Every reader of files from outside: damaged and hostile content gives a result or ``FormatError``, nothing else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_goectp.core.formats.errors import FormatError
from tests.readers import READERS

CORPUS = Path(__file__).parents[1] / 'fuzz' / 'corpus'
SEEDS = {name: [path.read_bytes() for path in sorted((CORPUS / name).iterdir())] for name in READERS}


@pytest.mark.parametrize('name', READERS)
def test_seeds_are_read(name):
    for seed in SEEDS[name]:
        READERS[name](seed)


@pytest.mark.parametrize('name', READERS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_changed_seeds(name, data):
    content = bytearray(data.draw(st.sampled_from(SEEDS[name])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 12))] = data.draw(st.binary(max_size=12))
    with suppress(FormatError):
        READERS[name](bytes(content))


@pytest.mark.parametrize('name', READERS)
@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\0' * 100,
        b'\xff\xfe' + b'a' * 99,
        b'[' * 100_000,
        b'{"a":' * 100_000,
        b'[' * 900 + b']' * 900,
        b'9' * 10_000,
        b'1e400',
        b'{"member": Infinity, "epoch": NaN}',
        b'{"splits": {"a": {"train": 3}}}',
        b'PK\x03\x04' + b'\0' * 50,
        b'<a>' * 50_000,
        b'1 ' * 50_000,
    ],
    ids=str(list(range(13)))[1:-1].split(', '),
)
def test_hostile_content(name, content):
    with suppress(FormatError):
        READERS[name](content)
