"""Response of finished runs of ``pw.x`` and ``ph.x`` from their files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dfpt.espresso_response import (
    MATRIX,
    OUTPUT,
    TENSORS,
    dielectric_from_quantumespresso,
    equal_tensors,
)
from aiida_goectp.core.dfpt.espresso_xml import read_pw_xml
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.core.formats.numbers import fortran_number

__all__ = ('GROUND_STATE', 'response_from_espresso')

GROUND_STATE = 'data-file-schema.xml'
"""name of the XML output of ``pw.x``"""

_HEADINGS = {'lrpa': 'RPA dielectric constant', 'lnoloc': '(DV_Hxc=0)'}
"""parameter of ph.x → heading of the dielectric tensor in its output"""
_END = 'JOB DONE'
_CUTOFF = re.compile(r'kinetic-energy cut-off +=  *([0-9.]+) +Ry')
_TENSOR = re.compile(r'Dielectric constant in cartesian axis *\n\s*\n((?: *\([^\n]*\) *\n){3})')
_CUTOFF_TOLERANCE = 0.001  # Ry; the output has four decimals
_RYDBERG = 13.605693122994  # eV


def response_from_espresso(name: str, files: Mapping[str, bytes]) -> DielectricResponse:
    """Return the dielectric response of one run of ``pw.x`` and one of ``ph.x`` at Γ, in the frame of the cell.

    :param name: id of the crystal
    :param files: content by name: ``data-file-schema.xml`` of ``pw.x``; ``aiida.out``, the standard output of ``ph.x``;
        ``tensors.xml`` and ``DYN_MAT/dynamical-matrix-1``, one of them at least
    :raises CollectError: missing or damaged files, an unfinished run, no response, or files of different cells or runs
    :raises CrystalError: an invalid structure
    """
    required = {GROUND_STATE: 'XML output of pw.x (data-file-schema.xml)', OUTPUT: 'standard output of ph.x'}
    if missing := [text for key, text in required.items() if key not in files]:
        raise CollectError(
            Refusal.MISSING_FILE, f'no {" and no ".join(missing)} in this folder; put it beside the files of ph.x'
        )
    texts = {key: files[key].decode(errors='replace') for key in (OUTPUT, TENSORS, MATRIX) if key in files}
    if _END not in texts[OUTPUT]:
        raise CollectError(Refusal.UNFINISHED, 'the output of ph.x does not end with JOB DONE; let the run finish')
    ground = read_pw_xml(name, files[GROUND_STATE])
    _check_cutoff(texts[OUTPUT], ground.parameters)
    response = {tag: True for tag, heading in _HEADINGS.items() if heading in texts[OUTPUT]}
    found = dielectric_from_quantumespresso(
        ground.crystal,
        texts,
        gap=ground.gap,
        forces=ground.forces,
        ground_state=ground.parameters,
        settings={
            'ground_state': ground.namelists,
            'response': {'INPUTPH': response},
            **({'occupations': ground.occupations} if ground.occupations else {}),
        },
        lattice=ground.crystal.lattice,
    )
    _check_tensor(texts[OUTPUT], found.electronic)
    return found


def _check_cutoff(output: str, ground_state: Mapping[str, Any]) -> None:
    """Check that ``ph.x`` took the wave functions of this run of ``pw.x``, by their cutoff.

    :param output: of ``ph.x``
    :param ground_state: parameters of ``pw.x``, with ``wfc_cutoff`` in eV
    :raises CollectError: another cutoff
    """
    match, cutoff = _CUTOFF.search(output), float(ground_state.get('wfc_cutoff', np.nan)) / _RYDBERG
    if match is not None and abs(fortran_number(match.group(1)) - cutoff) > _CUTOFF_TOLERANCE:
        raise CollectError(
            Refusal.OTHER_RUN,
            f'ecutwfc is {cutoff:g} Ry in the output of pw.x and {match.group(1)} Ry in that of ph.x: files of two '
            'runs; keep those of one run in the folder',
        )


def _check_tensor(output: str, electronic: np.ndarray) -> None:
    """Check that the dielectric tensor is the last one that ``ph.x`` printed.

    :param output: of ``ph.x``
    :param electronic: (3, 3)
    :raises CollectError: another tensor
    """
    block = next(reversed(_TENSOR.findall(output)), '')
    printed = np.array([fortran_number(word) for word in block.split() if word not in '()'])
    if printed.size == 9 and not equal_tensors(printed.reshape(3, 3), electronic):
        raise CollectError(
            Refusal.OTHER_RUN,
            f'the dielectric tensor in the output of ph.x (trace {printed[::4].sum():g}) is not that in its files '
            f'(trace {np.trace(electronic):g}): files of two runs; keep those of one run in the folder',
        )
