"""Response of finished runs of ``pw.x`` and ``ph.x`` from their files."""

from __future__ import annotations

from collections.abc import Mapping

from aiida_goectp.core.dfpt.errors import CollectError, Refusal
from aiida_goectp.core.dfpt.espresso_response import MATRIX, OUTPUT, TENSORS, dielectric_from_quantumespresso
from aiida_goectp.core.dfpt.espresso_xml import read_pw_xml
from aiida_goectp.core.dielectric.response import DielectricResponse

__all__ = ('GROUND_STATE', 'response_from_espresso')

GROUND_STATE = 'data-file-schema.xml'
"""name of the XML output of ``pw.x``"""

_HEADINGS = {'lrpa': 'RPA dielectric constant', 'lnoloc': '(DV_Hxc=0)'}
"""parameter of ph.x → heading of the dielectric tensor in its output"""
_END = 'JOB DONE'


def response_from_espresso(name: str, files: Mapping[str, bytes]) -> DielectricResponse:
    """Return the dielectric response of one run of ``pw.x`` and one of ``ph.x`` at Γ, in the frame of the cell.

    :param name: id of the crystal
    :param files: content by name: ``data-file-schema.xml`` of ``pw.x``; ``aiida.out``, the standard output of ``ph.x``;
        ``tensors.xml`` and ``DYN_MAT/dynamical-matrix-1``, one of them at least
    :raises CollectError: missing or damaged files, an unfinished run, no response, or files of different cells
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
    response = {tag: True for tag, heading in _HEADINGS.items() if heading in texts[OUTPUT]}
    return dielectric_from_quantumespresso(
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
