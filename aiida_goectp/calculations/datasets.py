"""Calcfunctions that make, join, split and evaluate datasets."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.crystals import Failure
from aiida_goectp.core.datasets import evaluation
from aiida_goectp.core.datasets.calculations import dataset_from_calculations
from aiida_goectp.core.datasets.reading import read_dataset, with_split_file
from aiida_goectp.core.datasets.responses import JudgedResponse, dataset_from_responses
from aiida_goectp.core.datasets.splits import FRACTIONS
from aiida_goectp.core.dfpt.collect import Collected
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.functionals import UNKNOWN
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.data.predictions import PredictionsData

__all__ = (
    'add_splits',
    'calculation_inputs',
    'dataset_crystals',
    'dataset_from_dielectric',
    'evaluate_predictions',
    'import_calculations',
    'import_dataset',
    'join_datasets',
    'responses_by_name',
    'split_dataset',
)

_RESPONSE = 'calculation_{:05d}.npz'
"""name of the response of a calculation by its place among the sources"""


@calcfunction
def import_dataset(
    file: orm.SinglefileData, functional: orm.Str | None = None, splits: orm.SinglefileData | None = None
) -> DatasetData:
    """Read a stored ``dataset.npz`` or labelled JSON lines, see :func:`.read_dataset`.

    :param functional: of rows without a functional
    :param splits: JSON file of given splits: ``splits`` → name → train, validation, test → ids
    :raises ValueError: an invalid file; rows that are not valid crystals are stored as failures instead
    """
    data = read_dataset(file.filename, file.content, UNKNOWN if functional is None else functional.value)
    return DatasetData(data if splits is None else with_split_file(data, splits.filename, splits.content))


def calculation_inputs(collected: Sequence[Collected]) -> dict[str, orm.Data]:
    """Return the inputs ``responses`` and ``sources`` of :func:`import_calculations`, unstored.

    :param collected: results of :func:`.collect_calculations`
    """
    responses, sources = orm.FolderData(), []
    for index, (result, folder, program, files) in enumerate(collected):
        source: dict[str, Any] = {'folder': folder, 'program': program, 'files': dict(files)}
        if isinstance(result, Failure):
            source['failure'] = list(result)
        else:
            buffer = io.BytesIO()
            result.save(buffer)
            responses.base.repository.put_object_from_bytes(buffer.getvalue(), _RESPONSE.format(index))
        sources.append(source)
    return {'responses': responses, 'sources': orm.List(sources)}


@calcfunction
def import_calculations(
    responses: orm.FolderData,
    sources: orm.List,
    functional: orm.Str | None = None,
    thresholds: orm.Dict | None = None,
    join: orm.Bool | None = None,
    unnamed_functional: orm.Str | None = None,
    **retrieved: orm.FolderData,
) -> dict[str, Any]:
    """Make a dataset of finished calculations, see :func:`.dataset_from_calculations`.

    :param responses: one ``dielectric.npz`` for each calculation with a response, from :func:`calculation_inputs`
    :param sources: folder, program, files with their SHA-256, and failure of each calculation, likewise
    :param functional: of the rows whose files state none
    :param thresholds: of the quality gates by name; None disables a gate
    :param join: whether to keep equal crystals once
    :param unnamed_functional: of the calculations whose functional has no name here; failures if not given
    :param retrieved: the nodes that hold the files, if they are in this profile; they are not read again
    :return: ``dataset``, and ``report``: rows with verdicts, refusals with reasons, equal crystals
    :raises ValueError: an invalid threshold or functional, or inputs that do not belong together
    """
    repository, collected = responses.base.repository, []
    for index, source in enumerate(sources.get_list()):
        if 'failure' in source:
            result: Any = Failure(*source['failure'])
        else:
            name = _RESPONSE.format(index)
            result = DielectricResponse.load(io.BytesIO(repository.get_object_content(name, mode='rb')), name=name)
        collected.append(Collected(result, source['folder'], source['program'], source['files']))
    data, report = dataset_from_calculations(
        collected,
        functional=UNKNOWN if functional is None else functional.value,
        unnamed_functional=None if unnamed_functional is None else unnamed_functional.value,
        thresholds=None if thresholds is None else thresholds.get_dict(),
        join=False if join is None else join.value,
    )
    return {'dataset': DatasetData(data), 'report': orm.Dict(report)}


@calcfunction
def dataset_from_dielectric(**nodes: Mapping[str, DielectricData | orm.Dict]) -> DatasetData:
    """Make a dataset of computed responses and their gate results.

    A response that is ``accepted`` gives both labels, one that is ``electronic-only`` the electronic label. One that is
    ``refused`` is stored with the names of the failed gates and excluded from training. The origin of a row is the UUID
    of the response. Rows are in the order of the sorted names.

    :param nodes: two namespaces, ``responses`` and ``qualities`` (results of :func:`.evaluate_gates`), by the same
        names
    :raises ValueError: a name in one namespace only, or the gate results of another response
    """
    responses = responses_by_name(nodes)
    for response, quality in responses.values():
        _check_belongs(response, quality)
    return DatasetData(
        dataset_from_responses(
            [
                JudgedResponse(response.dielectric, quality.get_dict(), response.uuid)
                for _, (response, quality) in sorted(responses.items())
            ]
        )
    )


def responses_by_name(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[DielectricData, orm.Dict]]:
    """Return name → response and its gate results, from the input namespaces ``responses`` and ``qualities``.

    :raises ValueError: another namespace, no response, or a name in one namespace only
    """
    if unknown := sorted(set(nodes) - {'responses', 'qualities'}):
        raise ValueError(f'unknown input {", ".join(unknown)}; give responses and qualities')
    responses, qualities = nodes.get('responses', {}), nodes.get('qualities', {})
    if not responses or set(responses) != set(qualities):
        odd = ', '.join(sorted(set(responses) ^ set(qualities))) or 'none given'
        raise ValueError(f'each name in responses needs one in qualities; missing or unknown: {odd}')
    return {name: (response, qualities[name]) for name, response in responses.items()}


def _check_belongs(response: DielectricData, quality: orm.Dict) -> None:
    """Check that gate results are those of a response; results without a creator are accepted.

    :raises ValueError: they were evaluated for a response with other content
    """
    creator = quality.creator
    if creator is None or 'dielectric' not in creator.inputs:
        return
    evaluated = creator.inputs.dielectric
    if evaluated.content_hash != response.content_hash:
        raise ValueError(f'gate results {quality.pk} belong to response {evaluated.pk}, not to {response.pk}')


@calcfunction
def join_datasets(
    tolerance: orm.Float | None = None, newcomers: orm.Str | None = None, **datasets: DatasetData
) -> dict[str, Any]:
    """Join datasets to one without duplicate crystals, see :func:`aiida_goectp.core.datasets.joining.join_datasets`.

    :param tolerance: relative difference above which two labels of one crystal are reported; 0.1 if not given
    :param newcomers: part of a split for the rows of datasets without that split; none if not given
    :param datasets: under any names; of different labels, that of the first dataset in the order of the sorted names
        is kept
    :return: ``dataset``, and ``report``: duplicates, labels that were filled in, labels that differ
    :raises ValueError: no dataset
    """
    # numba takes a second to import
    from aiida_goectp.core.datasets import joining

    names = sorted(datasets)
    joined, report = joining.join_datasets(
        [datasets[name].dataset for name in names],
        joining.TOLERANCE if tolerance is None else tolerance.value,
        '' if newcomers is None else newcomers.value,
    )
    return {'dataset': DatasetData(joined), 'report': orm.Dict({'parts': names, **report})}


@calcfunction
def split_dataset(
    dataset: DatasetData, name: orm.Str, kind: orm.Str, seed: orm.Int, fractions: orm.List | None = None
) -> DatasetData:
    """Add a split, see :func:`aiida_goectp.core.datasets.splits.make_split`.

    :param name: of the split
    :param kind: random, or formula (no reduced formula in two parts)
    :param fractions: of train, validation and test; 0.8, 0.1, 0.1 if not given
    :raises ValueError: the dataset has a split of this name, or the split cannot be made
    """
    shares = FRACTIONS if fractions is None else fractions.get_list()
    return DatasetData(dataset.dataset.with_split(name.value, kind.value, seed.value, shares))


@calcfunction
def add_splits(dataset: DatasetData, splits: orm.SinglefileData) -> DatasetData:
    """Add given splits.

    :param splits: JSON file: ``splits`` → name → train, validation, test → ids
    :raises ValueError: an invalid file, an id that is not in the dataset, or a split that it has already
    """
    return DatasetData(with_split_file(dataset.dataset, splits.filename, splits.content))


@calcfunction
def dataset_crystals(dataset: DatasetData, split: orm.Str | None = None, part: orm.Str | None = None) -> CrystalsData:
    """Return the crystals of the trainable rows, or of one part of a split, without labels.

    :param split: name of a split; all trainable rows if not given
    :param part: train, validation or test; test if not given
    :raises ValueError: an unknown split or part, or one without rows
    """
    data = dataset.dataset
    if split is None:
        chosen, where = data.take(np.flatnonzero(data.trainable)), ''
    else:
        name = 'test' if part is None else part.value
        chosen, where = data.part(split.value, name), f' in {name} of the split {split.value!r}'
    if not len(chosen):
        raise ValueError(f'dataset {dataset.pk} has no trainable row{where}')
    return CrystalsData(chosen.crystals)


@calcfunction
def evaluate_predictions(predictions: PredictionsData, dataset: DatasetData) -> orm.Dict:
    """Return the metrics of predictions of a dataset's crystals, with its labels as reference.

    :param predictions: of all crystals of the dataset, or of some
    :return: see :func:`aiida_goectp.core.datasets.evaluation.evaluate_predictions`
    :raises ValueError: predictions of other crystals, or no row with prediction and label
    """
    return orm.Dict(evaluation.evaluate_predictions(predictions.predictions, dataset.dataset))
