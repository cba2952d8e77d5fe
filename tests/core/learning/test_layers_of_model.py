"""ε∞ of layered crystals with wider gaps follows the vacuum average of electrostatics in the shipped models."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.crystals.layers import find_layers, vacuum_averaged, with_vacuum_scaled
from aiida_goectp.core.formats.model_card import shipped_models
from aiida_goectp.core.learning.predict import predict_crystals

SHARES = np.linspace(0, 1, 6)
"""increase of the gaps between layers, as a share of the gaps"""

TOLERANCE = 0.13
"""relative, of ε_∥ − 1 and of 1 − 1/ε_⊥"""

HEXAGONAL = np.array([[1, 0, 0], [-0.5, np.sqrt(3) / 2, 0], [0, 0, 1]])


def layered() -> dict[str, Crystal]:
    """Return measured layered crystals with van der Waals gaps of about 3 Å.

    MoS2: Bronsema et al., Z. Anorg. Allg. Chem. 540, 15 (1986). BN: Lynch and Drickamer, J. Chem. Phys. 44, 181 (1966).
    PbI2: Wyckoff, Crystal Structures 1 (1963).
    """
    low, high = [1 / 3, 2 / 3], [2 / 3, 1 / 3]
    sulphur = [[*low, 0.621], [*low, -0.121], [*high, 0.379], [*high, 0.121]]
    rows = {
        'MoS2': (3.16, 12.29, [42, 42, 16, 16, 16, 16], [[*low, 0.25], [*high, 0.75], *sulphur]),
        'BN': (2.504, 6.661, [5, 5, 7, 7], [[*low, 0.25], [*high, 0.75], [*high, 0.25], [*low, 0.75]]),
        'PbI2': (4.557, 6.979, [82, 53, 53], [[0, 0, 0], [*low, 0.2675], [*high, -0.2675]]),
    }
    return {
        name: Crystal(name, HEXAGONAL * [[a], [a], [c]], np.array(numbers, np.int16), np.array(positions))
        for name, (a, c, numbers, positions) in rows.items()
    }


def relative_deviations(crystal, predict) -> np.ndarray:
    """Return the relative deviations from the vacuum average of the tensor at the measured gap, (shares, 2): ε_∥, ε_⊥.

    :param predict: crystal set → (n, 3, 3) ε∞
    """
    layers = find_layers(crystal)
    assert layers is not None
    found = predict(CrystalSet.from_crystals([with_vacuum_scaled(crystal, layers, share) for share in SHARES]))
    expected = np.array([vacuum_averaged(found[0], layers, share) for share in SHARES])
    across = np.outer(layers.normal, layers.normal)

    def responses(tensors):
        within = np.einsum('nij,ij->n', tensors, (np.eye(3) - across) / 2)
        return np.stack([within - 1, 1 - 1 / np.einsum('nij,ij->n', tensors, across)], axis=1)

    return responses(found) / responses(expected) - 1


def test_relative_deviations_of_the_vacuum_average_and_of_a_constant():
    crystal = layered()['MoS2']
    layers = find_layers(crystal)
    tensor = np.diag([15.0, 15.0, 6.0])
    exact = relative_deviations(
        crystal, lambda cells: np.array([vacuum_averaged(tensor, layers, share) for share in SHARES])
    )
    np.testing.assert_allclose(exact, 0, atol=1e-12)
    constant = relative_deviations(crystal, lambda cells: np.array([tensor for _ in cells]))
    assert (np.abs(constant[-1]) > TOLERANCE).all()


@pytest.mark.slow
@pytest.mark.parametrize('name', shipped_models())
@pytest.mark.parametrize('crystal', layered().values(), ids=layered())
def test_shipped_models_follow_the_vacuum_average(name, crystal):
    def predict(cells):
        predictions = predict_crystals(cells, name, device='cpu')
        assert not predictions.failed.any(), predictions.errors
        return predictions.electronic

    found = relative_deviations(crystal, predict)
    assert np.abs(found).max() < TOLERANCE, found
