"""Element features: the published ones for every element of the reference."""

import numpy as np

from aiida_goectp.network.elements import FEATURES, HEAVIEST, element_features


def test_features_are_those_of_the_reference(reference, reference_crystals):
    numbers = np.concatenate([crystal.atomic_numbers for crystal in reference_crystals])
    np.testing.assert_array_equal(element_features()[numbers], reference['x'])


def test_every_element_differs_but_where_the_bins_are_too_wide():
    features = element_features()
    assert features.shape == (HEAVIEST + 1, FEATURES)
    assert not features[0].any()
    assert (features[1:].sum(axis=1) >= 6).all()
    oxygen, sulphur = features[8], features[16]
    np.testing.assert_array_equal(oxygen[:19], sulphur[:19])  # one group
    assert (oxygen != sulphur).any()
