"""Calcfunction that converts the outputs of a VASP linear response into one :class:`.DielectricData`."""

from __future__ import annotations

from collections.abc import Mapping

from aiida import orm
from aiida.engine import calcfunction
from aiida_vasp.parsers.content_parsers.potcar import MultiPotcarIo

from aiida_goectp.core.dfpt.errors import CollectError
from aiida_goectp.core.dfpt.vasp_response import dielectric_from_vasp
from aiida_goectp.core.dfpt.vasprun import Vasprun, read_vasprun
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.data.dielectric import DielectricData

__all__ = ('collect_vasp', 'poscar_species')


@calcfunction
def collect_vasp(
    structure: orm.StructureData,
    misc: orm.Dict,
    settings: orm.Dict,
    retrieved: orm.FolderData | None = None,
    dielectrics: orm.ArrayData | None = None,
    born_charges: orm.ArrayData | None = None,
    hessian: orm.ArrayData | None = None,
) -> DielectricData:
    """Return the dielectric response of one run of VASP.

    :param structure: structure of the run; the tensors are given in its Cartesian frame
    :param misc: output ``misc`` of aiida-vasp
    :param settings: ``incar``, and other settings to be stored with the response
    :param retrieved: retrieved files, for quantities that the parser does not read
    :param dielectrics: output of the same name; absent if vasprun.xml is truncated or too large
    :param born_charges: output of the same name
    :param hessian: output of the same name
    :raises CollectError: no dielectric tensor in the parsed outputs or in OUTCAR
    """
    arrays = {
        name: node.get_array(name)
        for node in (dielectrics, born_charges, hessian)
        if node is not None
        for name in node.get_arraynames()
    }
    files: dict[str, bytes] = {
        name: retrieved.base.repository.get_object_content(name, mode='rb')
        for name in ('OUTCAR', 'vasprun.xml')
        if retrieved is not None and name in retrieved.base.repository.list_object_names()
    }
    crystal = crystal_from_structure(structure.get_formula(), structure)
    species = poscar_species(structure)
    result = dielectric_from_vasp(
        crystal, misc.get_dict(), settings.get_dict(), arrays, files, species, vasprun=_read_vasprun(files)
    )
    return DielectricData(result)


def _read_vasprun(files: Mapping[str, bytes]) -> Vasprun | None:
    """Return the content of vasprun.xml; ``None`` if it is missing or damaged at its beginning."""
    try:
        return read_vasprun(files['vasprun.xml'])
    except (KeyError, CollectError):
        return None


def poscar_species(structure: orm.StructureData) -> list[str]:
    """Return the symbols in the order of POSCAR and of the values of LDAUU.

    Each is that of a group of consecutive sites of equal kind; a kind may have several groups.
    """
    return [structure.get_kind(name).symbol for name in MultiPotcarIo.potentials_order(structure)]
