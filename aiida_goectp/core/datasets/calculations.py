"""Datasets of finished calculations, with the results of the gates and a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiida_goectp.core.crystals.crystalset import CrystalSet, Failure
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.responses import JudgedResponse, dataset_from_responses
from aiida_goectp.core.dfpt.collect import Collected, collect_calculations
from aiida_goectp.core.dfpt.errors import Refusal
from aiida_goectp.core.dfpt.folders import Program, find_calculations
from aiida_goectp.core.dielectric.gate_codes import GateCode
from aiida_goectp.core.dielectric.gates import check_thresholds, judge
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.functionals import UNKNOWN, check_functional, is_unnamed

__all__ = ('dataset_from_calculations', 'import_calculations')

_NOT_IN_FILES: Mapping[str, tuple[GateCode, ...]] = {Program.PHONOPY: (GateCode.SCF_CONVERGED, GateCode.INSULATING)}
"""required gates on numbers that the files of a program do not contain"""
_COMPARISONS = 'duplicates', 'not_filled', 'disagreements'
"""lists of :func:`.join_datasets` that concern equal crystals"""
_DIGITS = 16
"""hexadecimal digits of a hash in the origin of a row"""


def import_calculations(
    folders: Sequence[str | Path],
    *,
    recursive: bool = True,
    functional: str = UNKNOWN,
    unnamed_functional: str | None = None,
    thresholds: Mapping[str, float | None] | None = None,
    join: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Dataset, dict[str, Any]]:
    """Return a dataset of the finished calculations of VASP, Quantum ESPRESSO and phonopy in folders, and a report.

    >>> data, report = import_calculations(['runs'], functional='PBEsol')
    >>> data.save('dataset.npz')

    :param folders: see :func:`.find_calculations`
    :param recursive: also calculations in subfolders
    :param functional: of the rows whose files state none
    :param unnamed_functional: of the calculations whose files state a functional that has no name here; by default they
        are failures with the code ``unnamed_functional``
    :param thresholds: of the quality gates by name; ``None`` disables a gate
    :param join: keep equal crystals once; see :func:`dataset_from_calculations`
    :param progress: called with the number of calculations that were read, and of all
    :return: see :func:`dataset_from_calculations`
    :raises FormatError: no such folder, no calculation, or an invalid argument
    """
    _check_functionals(functional, unnamed_functional)
    check_thresholds(thresholds)
    calculations = find_calculations([Path(folder) for folder in folders], recursive=recursive)
    collected = []
    for item in collect_calculations(calculations):
        collected.append(item)
        if progress is not None:
            progress(len(collected), len(calculations))
    return dataset_from_calculations(
        collected, functional=functional, unnamed_functional=unnamed_functional, thresholds=thresholds, join=join
    )


def dataset_from_calculations(
    collected: Sequence[Collected],
    *,
    functional: str = UNKNOWN,
    unnamed_functional: str | None = None,
    thresholds: Mapping[str, float | None] | None = None,
    join: bool = False,
) -> tuple[Dataset, dict[str, Any]]:
    """Return one row for each calculation with a response; those without are failures of the crystal set.

    Labels are those of :func:`.dataset_from_responses`. Convergence and band gap of a phonopy set are unknown and not
    checked. Equal crystals of one functional, as :func:`.join_datasets` finds them, are listed in the report.

    :param functional: of the rows whose files state none
    :param unnamed_functional: of the calculations whose files state a functional that has no name here; by default they
        are failures with the code ``unnamed_functional``
    :param thresholds: of the quality gates by name; ``None`` disables a gate
    :param join: keep equal crystals once, as :func:`.join_datasets` does
    :return: the dataset, and plain JSON: numbers of ``calculations`` and ``rows``, ``trainable``, ``programs`` and
        ``refusals`` (number of each code); ``imported``, the rows with folder, program, verdict, functional, that of
        the files (``stated``), and files with hashes;
        ``refused``, the failures with folder, program, code, message and files; ``duplicates``, ``not_filled`` and
        ``disagreements``
    :raises ValueError: an invalid threshold or functional
    """
    _check_functionals(functional, unnamed_functional)
    if unnamed_functional is None:
        collected = [_named(item) for item in collected]
    good = [item for item in collected if not isinstance(item.result, Failure)]
    bad = [item for item in collected if isinstance(item.result, Failure)]
    names = {'functional': functional, 'unnamed_functional': unnamed_functional or ''}
    judged = [_judged(item, names, thresholds) for item in good]
    failures = tuple(item.result for item in bad if isinstance(item.result, Failure))
    data = dataset_from_responses(judged) if judged else Dataset(CrystalSet.from_crystals([]))
    data = replace(data, crystals=replace(data.crystals, failures=failures))
    report = {
        'calculations': len(collected),
        'programs': dict(Counter(item.program for item in collected)),
        'refusals': dict(Counter(failure.code for failure in failures)),
        'imported': [
            {
                'id': name,
                **_plain(item),
                **{key: row.verdict[key] for key in ('label', 'reason')},
                'functional': label,
                'stated': _response(item).functional or UNKNOWN,
            }
            for name, item, row, label in zip(
                data.crystals.ids.tolist(), good, judged, data.functional.tolist(), strict=True
            )
        ],
        'refused': [
            {'id': failure.id, **_plain(item), 'code': failure.code, 'message': failure.message}
            for item, failure in zip(bad, failures, strict=True)
        ],
        'joined': join,
    }
    data, equal = _equal_crystals(data, join)
    return data, {**report, 'rows': len(data), 'trainable': int(data.trainable.sum()), **equal}


def _check_functionals(functional: str, unnamed_functional: str | None) -> None:
    """Check names that a user gave.

    :raises FormatError: an unknown name
    """
    check_functional(functional)
    if unnamed_functional is not None:
        check_functional(unnamed_functional)


def _named(item: Collected) -> Collected:
    """Return a calculation, as a failure if its functional has no name here."""
    if isinstance(item.result, Failure) or not is_unnamed(item.result.functional):
        return item
    message = (
        f'{item.folder}: the functional has settings without a name here, {item.result.functional}; give the '
        'functional of all such calculations as --unnamed-functional, or leave them out'
    )
    return item._replace(result=Failure(item.result.crystal.id, str(Refusal.UNNAMED_FUNCTIONAL), message))


def _response(item: Collected) -> DielectricResponse:
    assert not isinstance(item.result, Failure)
    return item.result


def _judged(item: Collected, names: Mapping[str, str], thresholds: Mapping[str, float | None] | None) -> JudgedResponse:
    """Return the response of a calculation with the results of its gates, and with a given name of its functional."""
    response = _response(item)
    limits = {**(thresholds or {}), **{code.value: None for code in _NOT_IN_FILES.get(item.program, ())}}
    verdict = judge(response, limits).as_dict()
    if response.functional in ('', UNKNOWN):
        response = replace(response, functional=names['functional'])
    elif is_unnamed(response.functional):
        response = replace(response, functional=names['unnamed_functional'])
    return JudgedResponse(response, verdict, _origin(item))


def _plain(item: Collected) -> dict[str, Any]:
    return {'folder': item.folder, 'program': item.program, 'files': dict(item.files)}


def _origin(item: Collected) -> str:
    """Return folder, first file and the first digits of its hash."""
    name, digest = next(iter(item.files.items()), ('', ''))
    return f'{item.folder}/{name} sha256:{digest[:_DIGITS]}'


def _equal_crystals(data: Dataset, join: bool) -> tuple[Dataset, dict[str, Any]]:
    """Return the dataset, without duplicates if they are joined, and what :func:`.join_datasets` reports."""
    # numba takes a second to import
    from aiida_goectp.core.datasets.joining import join_datasets

    if not len(data):
        return data, {key: [] for key in _COMPARISONS}
    joined, report = join_datasets([data])
    names = ('kept', 'other')
    lists = {
        key: [{**entry, **{name: entry[name]['id'] for name in names}} for entry in report[key]] for key in _COMPARISONS
    }
    return joined if join else data, lists
