"""Datasets as provenance: from files, from computed responses, from other datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.dataset import DatasetData
from aiida_goectp.data.dielectric import DielectricData

__all__ = (
    'add_splits',
    'dataset_crystals',
    'dataset_from_dielectric',
    'import_dataset',
    'join_datasets',
    'split_dataset',
)


@calcfunction
def import_dataset(
    file: orm.SinglefileData, functional: orm.Str | None = None, splits: orm.SinglefileData | None = None
) -> DatasetData:
    """Read a stored ``dataset.npz`` or labelled JSON lines, see :func:`.read_dataset`.

    :param functional: of the rows that do not say
    :param splits: JSON file of splits that somebody has made: ``splits`` → name → train, validation, test → ids
    :raises ValueError: a file that is not what it should be; rows that are no crystals are among the failures instead
    """
    from aiida_goectp.core.datasets.dataset import UNKNOWN
    from aiida_goectp.core.datasets.reading import read_dataset, with_split_file

    data = read_dataset(file.filename, file.content, UNKNOWN if functional is None else functional.value)
    return DatasetData(data if splits is None else with_split_file(data, splits.filename, splits.content))


@calcfunction
def dataset_from_dielectric(**nodes: DielectricData | orm.Dict) -> DatasetData:
    """Make a dataset of computed responses and of what the gates said of each.

    ``accepted`` gives both labels, ``electronic-only`` the electronic one; what was ``refused`` is stored with the
    names of the gates and never learnt from. The origin of a row is the UUID of the node. Rows are in the sorted order
    of the names.

    :param nodes: for each response ``dielectric_NAME`` and ``quality_NAME``, the verdict on it
    :raises ValueError: one without the other, or a verdict on another response
    """
    from aiida_goectp.core.datasets.responses import JudgedResponse, dataset_from_responses

    names = sorted({key.partition('_')[2] for key in nodes})
    wanted = {f'{kind}_{name}' for name in names for kind in ('dielectric', 'quality')}
    if not names or set(nodes) != wanted:
        odd = ', '.join(sorted(set(nodes) ^ wanted)) or 'nothing was given'
        raise ValueError(f'each response needs dielectric_NAME and quality_NAME; missing or unknown: {odd}')
    judged = []
    for name in names:
        response: Any = nodes[f'dielectric_{name}']
        quality: Any = nodes[f'quality_{name}']
        _check_verdict(response, quality)
        judged.append(JudgedResponse(response.dielectric, quality.get_dict(), response.uuid))
    return DatasetData(dataset_from_responses(judged))


def _check_verdict(response: DielectricData, quality: orm.Dict) -> None:
    """Refuse the verdict on another response; one of unknown provenance is taken as given."""
    creator = quality.creator
    if creator is None or 'dielectric' not in creator.inputs:
        return
    judged = creator.inputs.dielectric
    if judged.content_hash != response.content_hash:
        raise ValueError(f'the verdict {quality.pk} is on the response {judged.pk}, not on {response.pk}')


@calcfunction
def join_datasets(
    tolerance: orm.Float | None = None, newcomers: orm.Str | None = None, **datasets: DatasetData
) -> dict[str, Any]:
    """Join datasets to one, in which no crystal stands twice; see :func:`.join_datasets`.

    :param tolerance: relative distance beyond which two labels of one crystal disagree, 0.1 if not given
    :param newcomers: part of the splits for the rows of a dataset without that split; none if not given
    :param datasets: under any names; the first in the sorted order of the names wins where labels disagree
    :return: ``dataset``, and ``report``: duplicates, labels that were filled in, labels that disagree
    :raises ValueError: nothing to join
    """
    from aiida_goectp.core.datasets.joining import TOLERANCE
    from aiida_goectp.core.datasets.joining import join_datasets as join

    names = sorted(datasets)
    joined, report = join(
        [datasets[name].dataset for name in names],
        TOLERANCE if tolerance is None else tolerance.value,
        '' if newcomers is None else newcomers.value,
    )
    return {'dataset': DatasetData(joined), 'report': orm.Dict({'parts': names, **report})}


@calcfunction
def split_dataset(
    dataset: DatasetData, name: orm.Str, kind: orm.Str, seed: orm.Int, fractions: orm.List | None = None
) -> DatasetData:
    """Add a split column, see :func:`aiida_goectp.core.datasets.splits.make_split`.

    :param name: of the split
    :param kind: random, or formula (no reduced formula in two parts)
    :param fractions: of train, validation and test; 0.8, 0.1, 0.1 if not given
    :raises ValueError: a split of this name is there, or what was asked for cannot be had
    """
    from aiida_goectp.core.datasets.splits import FRACTIONS

    shares = FRACTIONS if fractions is None else fractions.get_list()
    return DatasetData(dataset.dataset.with_split(name.value, kind.value, seed.value, shares))


@calcfunction
def add_splits(dataset: DatasetData, splits: orm.SinglefileData) -> DatasetData:
    """Add splits that somebody has made.

    :param splits: JSON file: ``splits`` → name → train, validation, test → ids
    :raises ValueError: no such file, an id that the dataset lacks, or a split that is there already
    """
    from aiida_goectp.core.datasets.reading import with_split_file

    return DatasetData(with_split_file(dataset.dataset, splits.filename, splits.content))


@calcfunction
def dataset_crystals(dataset: DatasetData, split: orm.Str | None = None, part: orm.Str | None = None) -> CrystalsData:
    """Return the crystals of the trainable rows, or of one part of a split; labels stay behind.

    :param split: name of a split; all trainable rows if not given
    :param part: train, validation or test; test if not given
    :raises ValueError: no such split or part, or nothing in it
    """
    data = dataset.dataset
    if split is None:
        chosen = data.take(np.flatnonzero(data.trainable))
    else:
        chosen = data.part(split.value, 'test' if part is None else part.value)
    if not len(chosen):
        raise ValueError(f'dataset {dataset.pk} has no trainable row {"at all" if split is None else "in that part"}')
    return CrystalsData(chosen.crystals)
