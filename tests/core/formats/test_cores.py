"""Number of cores."""

from __future__ import annotations

import os

from aiida_goectp.core.formats.cores import available_cores


def test_available_cores():
    assert 1 <= available_cores() <= os.cpu_count()
