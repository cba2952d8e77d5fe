"""Element features and scales, compared with the published ones and with other libraries."""

import numpy as np
from ase.data import covalent_radii
from pymatgen.core import Element

from aiida_goectp.core.network.elements import (
    ELECTRONEGATIVITY,
    FEATURES,
    HEAVIEST,
    RADIUS,
    element_features,
    element_scales,
)


def test_features_are_those_of_the_reference(reference, reference_crystals):
    numbers = np.concatenate([crystal.atomic_numbers for crystal in reference_crystals])
    np.testing.assert_array_equal(element_features()[numbers], reference['x'])


def test_each_element_has_a_bin_of_most_properties():
    features = element_features()
    assert features.shape == (HEAVIEST + 1, FEATURES)
    assert not features[0].any()
    assert (features[1:].sum(axis=1) >= 6).all()
    oxygen, sulphur = features[8], features[16]
    np.testing.assert_array_equal(oxygen[:19], sulphur[:19])  # one group
    assert (oxygen != sulphur).any()


def test_scales_are_bins_except_electronegativity_and_radius():
    features, scales = element_features(), element_scales()
    assert scales.shape == (101, 9)
    oxygen = features[8]
    assert scales[8, 0] == oxygen[:19].argmax() == 16
    np.testing.assert_allclose(scales[[8, 12, 55], ELECTRONEGATIVITY], [3.44, 1.31, 0.79])
    np.testing.assert_allclose(scales[[8, 12, 55], RADIUS], [0.66, 1.41, 2.44])
    # helium has no electronegativity; the published radii end with curium
    assert scales[2, ELECTRONEGATIVITY] == 0
    assert scales[100, RADIUS] == scales[96, RADIUS] == np.float32(1.69)
    assert (scales[1:, RADIUS] > 0.2).all()


def test_radii_agree_with_ase_and_electronegativities_with_pymatgen():
    radii = covalent_radii
    scales = element_scales()
    np.testing.assert_allclose(scales[1:97, RADIUS], radii[1:97], rtol=1e-6)
    known = [z for z in range(1, HEAVIEST + 1) if scales[z, ELECTRONEGATIVITY]]
    np.testing.assert_allclose(scales[known, ELECTRONEGATIVITY], [Element.from_Z(z).X for z in known], rtol=1e-6)
