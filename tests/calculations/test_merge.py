"""The merge of shards as a calcfunction."""

import dataclasses

import numpy as np
import pytest

from aiida_goectp.calculations.merge import merge_predictions
from aiida_goectp.data.predictions import PredictionsData

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def shard(crystal_set, predict_by_hand):
    whole = predict_by_hand(crystal_set, failed=[4])

    def cut(start, stop, model_hash='a' * 40):
        return PredictionsData(dataclasses.replace(whole.take(slice(start, stop)), model_hash=model_hash))

    return cut


def test_shards_in_any_order_give_the_whole(crystals, shard):
    parts = {'b': shard(0, 2), 'a': shard(2, 5), 'c': shard(5, 6)}
    merged = merge_predictions(crystals, **parts)
    assert list(merged.predictions.ids) == list(crystals.crystals.ids)
    np.testing.assert_array_equal(merged.predictions.electronic, shard(0, 6).predictions.electronic)
    assert list(merged.predictions.failed) == [False] * 4 + [True, False]
    incoming = merged.creator.base.links.get_incoming().all_link_labels()
    assert sorted(incoming) == ['a', 'b', 'c', 'crystals']


@pytest.mark.parametrize(
    ('cuts', 'message'),
    [
        ([(0, 2), (3, 6)], '1 of 6 crystals have no prediction: GaAs'),
        ([(0, 4), (3, 6)], 'SrTiO3 was predicted twice'),
        ([(0, 3), (3, 6, 'b' * 40)], 'different models'),
        ([], 'no predictions to merge'),
    ],
)
def test_what_is_no_whole_is_refused(crystals, shard, cuts, message):
    with pytest.raises(ValueError, match=message):
        merge_predictions(crystals, **{f'part_{index}': shard(*cut) for index, cut in enumerate(cuts)})
