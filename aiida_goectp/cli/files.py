"""Inputs of import calcfunctions: unstored nodes of files and folders, and the structures of a group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent
from aiida.manage import get_manager

from aiida_goectp.core.crystals.entries import clean_text
from aiida_goectp.core.crystals.readers import LeftOutFile, list_structures, needs_folder
from aiida_goectp.core.dfpt.folders import Calculation, Program, SourceFile
from aiida_goectp.core.dfpt.vasp_files import INCAR, OUTCAR, VASPRUN
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.workflows.failures import last_job

__all__ = (
    'archive_group',
    'calculations_of_group',
    'file_inputs',
    'group_inputs',
    'node_name',
    'single_file',
    'store_inputs',
)

_VASP = 'aiida.calculations:vasp.vasp'

_MAX_FILE_NODES = 200
"""a folder with more files is stored as one node, so that the provenance graph stays readable"""


def single_file(path: Path) -> orm.SinglefileData:
    """Return an unstored node of a file."""
    return orm.SinglefileData(path.absolute(), filename=path.name)


def file_inputs(paths: Iterable[Path], recursive: bool = False) -> tuple[dict[str, Any], list[LeftOutFile]]:
    """Return an unstored node per structure file, by names whose order is that of the files, and what is left out.

    Files called POSCAR or CONTCAR are stored in a folder of the name of theirs, which is the id of the crystal.

    :param recursive: also files in subfolders
    :raises click.BadParameter: a folder without structure files
    """
    nodes: list[Any] = []
    left_out: list[LeftOutFile] = []
    for path in paths:
        try:
            listing = list_structures(path, recursive)
        except FormatError as error:
            raise click.BadParameter(str(error), param_hint='PATHS') from error
        left_out += listing.left_out
        if len(listing.files) > _MAX_FILE_NODES:
            nodes.append(_folder({_name_in_folder(file, path): file for file in listing.files}))
            continue
        for file in listing.files:
            named = needs_folder(file.name)
            nodes.append(_folder({_name_in_folder(file, file.parent): file}) if named else single_file(file))
    return {f'file_{index:05d}': node for index, node in enumerate(nodes)}, left_out


def _folder(files: Mapping[str, Path]) -> orm.FolderData:
    """Return an unstored node of files.

    :param files: path in the node → file
    """
    folder = orm.FolderData()
    for name, file in files.items():
        folder.base.repository.put_object_from_file(str(file.absolute()), name)
    return folder


def _name_in_folder(file: Path, folder: Path) -> str:
    """Return the path of a file in a node, with the name of its folder if that is the id of the crystal."""
    name = file.relative_to(folder)
    return f'{folder.resolve().name}/{name}' if needs_folder(file.name) and len(name.parts) == 1 else name.as_posix()


def archive_group(path: Path) -> orm.Group:
    """Import an archive of AiiDA with its provenance, and return the group of its nodes.

    :raises click.BadParameter: not an archive, or one of another version
    """
    from aiida.common.exceptions import AiidaException
    from aiida.tools.archive import import_archive

    try:
        pk = import_archive(path)
    except (AiidaException, OSError) as error:
        hint = 'migrate an older version with `verdi archive migrate`'
        raise click.BadParameter(f'{path}: {error}; {hint}', param_hint='--archive') from error
    if pk is None:
        raise click.BadParameter(f'{path}: the archive contains no node', param_hint='--archive')
    return orm.load_group(pk)


def group_inputs(named: str | orm.Group) -> dict[str, Any]:
    """Return the structures of a group by names that end with the first digits of the UUID; see :func:`node_name`.

    :param named: a group, or its label, PK or UUID
    :raises click.BadParameter: no such group, or no structure in it
    """
    group = named if isinstance(named, orm.Group) else _load_group(named)
    kinds = orm.StructureData, orm.CifData, CrystalsData
    inputs = {node_name(node, node.uuid[:8]): node for node in group.nodes if isinstance(node, kinds)}
    if not inputs:
        raise click.BadParameter(
            f'the group {group.label} contains no StructureData, CifData or node of crystals', param_hint='--group'
        )
    return inputs


def node_name(node: orm.StructureData | orm.CifData | CrystalsData, suffix: str) -> str:
    """Return the name of an input: formula of a structure, name of the file of a CIF, or ``crystals``, and a suffix.

    It is the id of a structure or CIF in the resulting set.
    """
    if isinstance(node, orm.StructureData):
        name = node.get_formula('hill_compact')
    else:
        name = 'crystals' if isinstance(node, CrystalsData) else Path(node.filename).stem
    plain = re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_') or 'X'
    return f'{plain if plain[0].isalpha() else f"cif_{plain}"}_{suffix}'


def _load_group(label: str) -> Any:
    """Return a group.

    :raises click.BadParameter: no such group
    """
    try:
        return orm.load_group(label)
    except (NotExistent, MultipleObjectsError) as error:
        raise click.BadParameter(f'{error}; see `verdi group list -A`', param_hint='--group') from error


def calculations_of_group(label: str) -> tuple[list[Calculation], dict[str, orm.FolderData]]:
    """Return the VASP calculations of a group, and their retrieved files by the name of an input.

    Of a work chain, the last job below it is meant. Nodes that are no processes of VASP are left out.

    :raises click.BadParameter: no such group, or no calculation of VASP in it
    """
    jobs: dict[str, orm.CalcJobNode] = {}
    for node in _load_group(label).nodes:
        job = last_job(node) if isinstance(node, orm.ProcessNode) else None
        if job is not None and job.process_type == _VASP:
            jobs[job.uuid] = job
    if not jobs:
        raise click.BadParameter(f'the group {label} contains no calculation of VASP', param_hint='--group')
    calculations, folders = [], {}
    for uuid, job in jobs.items():
        files: dict[str, tuple[SourceFile, ...]] = {}
        held = [(INCAR, job)]
        if 'retrieved' in job.outputs:
            folders[f'retrieved_{uuid.replace("-", "_")}'] = job.outputs.retrieved
            held += [(name, job.outputs.retrieved) for name in (VASPRUN, OUTCAR)]
        for name, node in held:
            if name in node.base.repository.list_object_names():
                read: Any = partial(node.base.repository.get_object_content, name, mode='rb')
                files[name] = (SourceFile(name, read),)
        name = node_name(job.inputs.structure, uuid[:8]) if 'structure' in job.inputs else f'vasp_{uuid[:8]}'
        calculations.append(Calculation(clean_text(job.label) or name, uuid, Program.VASP, files))
    return calculations, folders


def store_inputs(inputs: dict[str, Any]) -> None:
    """Store unstored nodes in one transaction, which is several times faster than one each."""
    with get_manager().get_profile_storage().transaction():
        for node in inputs.values():
            if not node.is_stored:
                node.store()
