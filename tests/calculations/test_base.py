"""What all jobs share; the rest of it is tested with each of them."""

from aiida_goectp.calculations.base import time_limit


def test_time_limit_leaves_time_to_end():
    assert [time_limit(seconds) for seconds in (1, 10, 20, 60, 600, 3600, 86400)] == [1, 5, 10, 50, 540, 3480, 86280]
