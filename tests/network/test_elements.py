"""Element features: the published ones for every element of the reference."""

import numpy as np

from aiida_goectp.network.elements import FEATURES, HEAVIEST, element_features, element_scales


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


def test_scales_are_the_bins():
    features, scales = element_features(), element_scales()
    assert scales.shape == (101, 9)
    oxygen = features[8]
    assert scales[8, 0] == oxygen[:19].argmax() == 16
    assert scales[8, 2] == 8
    assert scales[8, 3] == np.float32(0.25 + 0.225 * 1.5)
    # helium has neither an electronegativity nor a radius
    assert scales[2, 2] == 0
    assert scales[2, 3] != 1.5
    assert (scales[:, 3] > 0.2).all()
