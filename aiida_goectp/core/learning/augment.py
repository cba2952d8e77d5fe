"""More rows to learn from, made of those that are there by physics alone."""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.crystalset import CrystalSet
from aiida_goectp.core.crystals.layers import find_layers, vacuum_averaged, with_vacuum_scaled
from aiida_goectp.core.datasets.concatenation import concatenate
from aiida_goectp.core.datasets.dataset import Dataset

__all__ = ('with_layer_copies',)

_WIDEST = 1.5
"""share of the gaps by which layers are pulled apart at most"""


def with_layer_copies(data: Dataset, copies: int, seed: int) -> Dataset:
    """Return the rows with copies of every layered crystal behind them, its layers pulled apart.

    Labels follow what electrostatics demands (:func:`.vacuum_averaged`), the static ones by the same law as
    the electronic ones.

    :param copies: of each layered crystal, each with wider gaps drawn anew
    """
    if not copies:
        return data
    random = np.random.default_rng([seed, 17])
    crystals, sources, electronic, ionic = [], [], [], []
    for row, crystal in enumerate(data.crystals):
        layers = find_layers(crystal)
        if layers is None or not np.isfinite(data.electronic[row]).all():
            continue
        for copy, share in enumerate(random.uniform(0.1, _WIDEST, copies), start=1):
            # two shares may be equal to the digits that a name shows
            crystals.append(with_vacuum_scaled(crystal, layers, float(share))._replace(id=f'{crystal.id}+{copy}'))
            sources.append(row)
            electronic.append(vacuum_averaged(data.electronic[row], layers, float(share)))
            static = (
                vacuum_averaged(data.total[row], layers, float(share)) if np.isfinite(data.total[row]).all() else np.nan
            )
            ionic.append(static - electronic[-1] + np.zeros((3, 3)))
    if not crystals:
        return data
    wider = Dataset(
        CrystalSet.from_crystals(crystals),
        electronic=np.array(electronic),
        ionic=np.array(ionic),
        functional=data.functional[sources],
        origin=data.origin[sources],
        failed_gates=data.failed_gates[sources],
    )
    return concatenate([data, wider])
