"""Calcfunctions that convert the outputs of ``pw.x`` and ``ph.x`` into one :class:`.DielectricData`."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

from aiida_goectp.core.dfpt.espresso_response import (
    MATRIX,
    OUTPUT,
    TENSORS,
    dielectric_from_quantumespresso,
)
from aiida_goectp.core.dielectric.band_gap import band_gap
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dielectric import DielectricData

__all__ = ('band_gap_quantumespresso', 'collect_quantumespresso')


@calcfunction
def collect_quantumespresso(
    structure: orm.StructureData,
    ground_state: orm.Dict,
    bands: orm.BandsData,
    trajectory: orm.TrajectoryData,
    retrieved: orm.FolderData,
    settings: orm.Dict,
    rotation: orm.ArrayData | None = None,
) -> DielectricData:
    """Return the dielectric response of one run of ``pw.x`` and one of ``ph.x``.

    :param structure: cell of both runs
    :param ground_state: output ``output_parameters`` of ``pw.x``
    :param bands: output ``output_band`` of ``pw.x``
    :param trajectory: output ``output_trajectory`` of ``pw.x``, for the forces
    :param retrieved: retrieved files of ``ph.x``
    :param settings: settings to be stored with the response; ``recommended_cutoff`` (eV) is used by the cutoff gate
    :param rotation: array ``rotation`` (3, 3) by which the cell was rotated; the response is rotated back
    :raises FormatError: no response in the files, or a response of another cell
    """
    crystal = crystal_from_structure(structure.get_formula(), structure)
    retrieved_names = {str(root / name) for root, _, names in retrieved.base.repository.walk() for name in names}
    names = {TENSORS, MATRIX, OUTPUT} & retrieved_names
    files = {
        name: retrieved.base.repository.get_object_content(name, mode='rb').decode(errors='replace') for name in names
    }
    parameters = ground_state.get_dict()
    result = dielectric_from_quantumespresso(
        crystal,
        files,
        gap=band_gap(*bands.get_bands(also_occupations=True)),
        forces=trajectory.get_array('forces') if 'forces' in trajectory.get_arraynames() else None,
        ground_state=parameters,
        settings=settings.get_dict(),
    )
    if rotation is not None:
        result = result.rotated(rotation.get_array('rotation').T)
    return DielectricData(result)


@calcfunction
def band_gap_quantumespresso(bands: orm.BandsData) -> orm.Float:
    """Return the band gap in eV on the k-point mesh of a ``pw.x`` run; 0 for a metal.

    :raises ValueError: no empty band, or damaged numbers
    """
    gap = band_gap(*bands.get_bands(also_occupations=True))
    if gap is None:
        raise ValueError('pw.x computed no empty band; increase the number of bands, nbnd')
    return orm.Float(gap)
