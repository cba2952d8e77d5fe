"""Learning rate schedules."""

from __future__ import annotations

import pytest

from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.state import rate_factor


@pytest.mark.parametrize(
    ('schedule', 'middle', 'end'), [('linear', 0.505, 0.01), ('cosine', 0.505, 0.01), ('constant', 1, 1)]
)
def test_schedules(schedule, middle, end):
    settings = TrainSettings(schedule=schedule, epochs=10, batch_size=10, warmup_steps=0)
    factor = rate_factor(settings, 200)  # 200 steps
    assert factor(0) == pytest.approx(1.0)
    assert factor(100) == pytest.approx(middle)
    assert factor(200) == pytest.approx(end)
    if schedule == 'cosine':  # flat at both ends
        assert factor(20) > 0.97
        assert factor(180) < 0.04


def test_warm_up_takes_a_twentieth_of_the_steps_at_most():
    factor = rate_factor(TrainSettings(epochs=10, batch_size=10, warmup_steps=1000), 200)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == pytest.approx(1.0)
    assert factor(11) < 1
