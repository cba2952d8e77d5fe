"""Time limit of the jobs; the rest of the base class is tested with each job."""

from aiida_goectp.calculations.base import time_limit


def test_time_limit_is_below_the_wall_time():
    assert [time_limit(seconds) for seconds in (1, 10, 20, 60, 600, 3600, 86400)] == [1, 5, 10, 50, 540, 3480, 86280]
