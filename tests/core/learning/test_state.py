"""Learning rate schedules, and what a resumed training must have in common with the one before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.learning.state import identity_of, rate_factor
from tests import tiny


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


def test_a_training_with_other_labels_is_not_resumed():
    data, other = tiny.some_dataset(6), tiny.some_dataset(6, seed=1)
    settings = TrainSettings()
    charges = np.ones((len(data.crystals.atomic_numbers), 3, 3))
    first = identity_of(settings, data, None, None)
    for changed in (
        replace(data, functional=np.full(6, 'PBE')),
        replace(data, failed_gates=np.array(['neutral_born_charges', *[''] * 5])),
        replace(data, born_charges=charges),
        replace(data, electronic=2 * data.electronic),
        other,
    ):
        found = identity_of(settings, changed, None, None)
        assert found['use'] != first['use']
    renamed = replace(data, crystals=replace(data.crystals, ids=np.array(list('abcdef'))), origin=np.full(6, 'x'))
    assert identity_of(settings, renamed, None, None) == first
    # the validation rows decide which weights are kept, or nothing
    assert identity_of(settings, data, other, None) == first
    best = settings.model_copy(update={'keep': 'best'})
    assert identity_of(best, data, other, None)['use'] != identity_of(best, data, data, None)['use']
