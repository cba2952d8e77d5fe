"""Data augmentation: layered crystals with more vacuum between their layers, labelled by electrostatics."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.layers import find_layers, vacuum_averaged, with_vacuum_scaled
from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset

__all__ = ('with_layer_copies',)

_SHARES = (0.1, 1.5)
"""range of the increase of the gaps between layers, as a share of the gaps"""


def with_layer_copies(data: Dataset, copies: int, seed: int) -> Dataset:
    """Return the rows, followed by copies of each layered crystal with wider gaps between its layers.

    Labels of the copies follow from those of the crystal (:func:`.vacuum_averaged`), electronic and static ones by the
    same law.

    :param copies: number of copies of each layered crystal, with gaps drawn at random
    """
    if not copies:
        return data
    random = np.random.default_rng([seed, 17])
    crystals, sources, electronic, ionic = [], [], [], []
    for row, crystal in enumerate(data.crystals):
        layers = find_layers(crystal)
        if layers is None or not np.isfinite(data.electronic[row]).all():
            continue
        for copy, share in enumerate(map(float, random.uniform(*_SHARES, copies)), start=1):
            crystals.append(with_vacuum_scaled(crystal, layers, share)._replace(id=f'{crystal.id}+{copy}'))
            sources.append(row)
            electronic.append(vacuum_averaged(data.electronic[row], layers, share))
            known = np.isfinite(data.total[row]).all()
            static = vacuum_averaged(data.total[row], layers, share) if known else np.full((3, 3), np.nan)
            ionic.append(static - electronic[-1])
    if not crystals:
        return data
    augmented = Dataset(
        CrystalSet.from_crystals(crystals),
        electronic=np.array(electronic),
        ionic=np.array(ionic),
        functional=data.functional[sources],
        origin=data.origin[sources],
        failed_gates=data.failed_gates[sources],
    )
    return concatenate([data, augmented])
