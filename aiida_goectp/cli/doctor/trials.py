"""Trials: a prediction of a small crystal, and the stages of a campaign without running them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from aiida import engine, orm

from aiida_goectp.calculations.predict import PredictCalculation
from aiida_goectp.calculations.train import TrainCalculation
from aiida_goectp.cli.campaign.plan import Plan, candidates
from aiida_goectp.cli.views.progress import run_and_report
from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.formats.names import DEFAULT_MODEL
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.dfpt.engines import load_engine

__all__ = ('trial_prediction', 'trial_stages')

_LABEL = 'aiida-goectp doctor'


def trial_prediction(code: orm.AbstractCode) -> tuple[Any, dict[str, Any]]:
    """Return the job that predicts MgO with a code, and its status: rows, device, speed.

    The nodes of crystal and model are stored once and used again.
    """
    builder: Any = PredictCalculation.get_builder()
    builder.code = code
    builder.crystals = _magnesia()
    builder.model = ModelData.get_or_create(DEFAULT_MODEL)
    builder.metadata.label = _LABEL
    builder.metadata.disable_cache = True
    node = run_and_report(builder)
    return node, node.outputs.status.get_dict() if 'status' in node.outputs else {}


def _magnesia() -> CrystalsData:
    lattice = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 4.212 / 2
    crystal = Crystal('MgO', lattice, np.array([12, 8], np.int16), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    node = CrystalsData(CrystalSet.from_crystals([crystal]))
    node.label = _LABEL
    filters = {'attributes.content_hash': node.base.attributes.get('content_hash'), 'label': _LABEL}
    stored: CrystalsData | None = orm.QueryBuilder().append(CrystalsData, filters=filters).first(flat=True)
    return stored if stored is not None else node.store()


def trial_stages(plan: Plan) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield name and trial of each stage of a campaign; a trial returns what it found, or raises what is wrong."""
    builder = plan.builder

    def predict() -> str:
        if builder.model is None:
            return 'after the first training'
        inputs = dict(builder.predict['goectp']) | {'crystals': builder.pool, 'model': builder.model}
        return _written(PredictCalculation, inputs)

    def pick() -> str:
        passes, known = candidates(builder)
        return f'{int((passes & ~known).sum())} candidates of {len(passes)} crystals'

    def verify() -> str:
        return f'{load_engine(builder.engine.value).__name__} accepts a candidate'

    def retrain() -> str:
        inputs = dict(builder.train['goectp']) | {'dataset': builder.dataset}
        return _written(TrainCalculation, inputs)

    yield from (('predict', predict), ('pick', pick), ('verify', verify), ('retrain', retrain))


def _written(process: Any, inputs: dict[str, Any]) -> str:
    """Write the input files of a job to a temporary folder, and return their names; nothing is stored."""
    metadata = dict(inputs.pop('metadata', {}))
    metadata |= {'dry_run': True, 'store_provenance': False}
    with TemporaryDirectory() as folder, _inside(folder):
        _, node = engine.run_get_node(process, **inputs, metadata=metadata)
        written = sorted(path.name for path in Path(node.dry_run_info['folder']).iterdir())
    return ', '.join(name for name in written if not name.startswith('.'))


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Change the working directory, in which AiiDA writes a dry run."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
