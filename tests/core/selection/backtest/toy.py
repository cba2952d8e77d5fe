"""Crystals whose permittivity is nearly a function of the volume, and a linear model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.selection.backtest import BacktestSettings, BacktestStore, FittedModel, make_hidden_pool
from aiida_goectp.core.selection.folds import fold_name
from tests.core.selection.builders import predictions_for

ROWS = 120


def toy_dataset(rows=ROWS, copies=0) -> Dataset:
    """Return crystals AB of many elements; the last ones are copies of the first in a doubled cell."""
    rng = np.random.default_rng(7)
    crystals, values = [], []
    for row in range(rows - copies):
        edge = float(rng.uniform(3.0, 6.0))
        numbers = [3 + row % 40, 50 + row // 40]
        crystals.append(
            Crystal(f't{row}', np.eye(3) * edge, np.array(numbers, np.int16), np.array([[0] * 3, [0.5] * 3]))
        )
        values.append(400 / edge**2 + 4 * np.sin(row))
    for row in range(copies):
        one = crystals[row]
        cell = one.lattice * np.array([[1], [1], [2]])
        above = one.fractional_positions + np.array([0, 0, 1])
        places = np.concatenate([one.fractional_positions, above]) / [1, 1, 2]
        crystals.append(Crystal(f'copy{row}', cell, np.tile(one.atomic_numbers, 2), places))
        values.append(values[row])
    half = np.array(values)[:, None, None] / 2 * np.eye(3)
    return Dataset(CrystalSet.from_crystals(crystals), half, half, functional=np.array(['PBE'] * rows))


def toy_settings(**values) -> BacktestSettings:
    fields = {'top_k': 10, 'start': 30, 'batch_size': 8, 'budget': 32, 'seeds': 2, 'acquisitions': ('greedy',)}
    return BacktestSettings.model_validate({**fields, 'policy': {'folds': 2}, **values})


def toy_pool(settings=None, **values):
    return make_hidden_pool(toy_dataset(**values), settings or toy_settings())


def _features(crystals) -> np.ndarray:
    edge = (np.abs(np.linalg.det(crystals.lattices)) / crystals.atom_counts * 2) ** (1 / 3)
    return np.stack([np.ones(len(edge)), edge**-2], axis=1)


@dataclass
class LinearModel:
    """Linear regression of ε_poly on the lattice constant, one member for each fold; trainings are counted."""

    trained: int = 0
    fail: bool = False
    backwards: bool = False

    def fit(self, dataset: Dataset, split: str, folds: int, initial: bytes | None, seed: int) -> FittedModel:
        self.trained += 1
        if self.fail and initial is not None:
            raise ValueError('the loss became nan')
        members = []
        for member in range(folds):
            rows = dataset.part(fold_name(split, member), 'train')
            value = np.trace(rows.total, axis1=1, axis2=2) / 3
            members.append(np.linalg.lstsq(_features(rows.crystals), value, rcond=None)[0].tolist())
        if self.backwards and initial is not None:
            members = [[-value for value in member] for member in members]
        return FittedModel(json.dumps(members).encode(), tuple(json.dumps([one]).encode() for one in members))

    def members(self, model: bytes) -> list[bytes]:
        return [json.dumps([one]).encode() for one in json.loads(model)]

    def predict(self, model: bytes, crystals: CrystalSet):
        found = _features(crystals) @ np.array(json.loads(model)).T
        std = np.full((len(crystals), 3), found.std(axis=1, keepdims=True) + 0.1)
        half = found.mean(axis=1) / 2
        name = f'm{crc32(model)}'
        return predictions_for(crystals, electronic=half, ionic=half, average_std=std, model_hash=name)


def toy_store(path) -> BacktestStore:
    store = BacktestStore(path)
    store.claim({'settings': 'toy'})
    return store
