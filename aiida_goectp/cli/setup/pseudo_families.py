"""Pseudopotential families for Quantum ESPRESSO: from an archive, downloaded, or generated with ld1.x."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida import orm
from aiida.manage import get_manager
from aiida.plugins import GroupFactory

from aiida_goectp.cli import echo
from aiida_goectp.core.formats.json_input import parse_json

if TYPE_CHECKING:
    from aiida_pseudo.groups.family import PseudoPotentialFamily

__all__ = (
    'DOJO',
    'GENERATED',
    'FamilyError',
    'download_family',
    'generate_small_family',
    'install_family',
    'installed_family',
    'label_of_archive',
    'read_cutoffs',
)

DOJO = 'PseudoDojo/0.4/PBEsol/SR/standard/upf'
"""label of the family in aiida-pseudo that the protocols prefer"""

GENERATED = 'goectp-ld1'
"""label of the family generated with ld1.x from the inputs in this package"""

_DEFAULT = 'normal'
"""default stringency of the cutoffs"""


class FamilyError(ValueError):
    """A pseudopotential family cannot be installed; the message contains the reason and the remedy."""


def installed_family(label: str) -> PseudoPotentialFamily | None:
    """Return the installed family of this label, None without one."""
    query = orm.QueryBuilder().append(GroupFactory('pseudo.family'), filters={'label': label})
    family: PseudoPotentialFamily | None = query.first(flat=True)
    return family


def label_of_archive(path: Path) -> str:
    """Return the label of the family in an archive or folder: its name, or that of PseudoDojo in aiida-pseudo."""
    stem = path.name.removesuffix('.gz').removesuffix('.tar').removesuffix('.zip').removesuffix('.tgz')
    return DOJO if stem == 'pseudo-dojo-0.4-pbesol-sr-standard-upf' else stem


def read_cutoffs(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Read recommended cutoffs: stringency → element → ``cutoff_wfc`` and ``cutoff_rho`` in Ry.

    :raises FamilyError: invalid JSON, or another structure
    """
    try:
        content = parse_json(path.read_bytes())
        return {
            str(stringency): {
                str(element): {name: float(values[name]) for name in ('cutoff_wfc', 'cutoff_rho')}
                for element, values in elements.items()
            }
            for stringency, elements in content.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FamilyError(
            f'{path}: invalid cutoffs ({type(error).__name__}: {error}); expected JSON such as '
            '{"normal": {"Si": {"cutoff_wfc": 36, "cutoff_rho": 144}}}, in Ry'
        ) from error


def install_family(
    source: Path, label: str, cutoffs: Mapping[str, Mapping[str, Any]] | None = None
) -> PseudoPotentialFamily:
    """Install the UPF files of an archive or folder as a family with recommended cutoffs.

    :param source: folder, tar or zip archive; the files may be in a subfolder
    :param label: of the family
    :param cutoffs: stringency → element → cutoffs in Ry; elements that are not in the family are ignored
    :raises FamilyError: no UPF files, an existing label, or an element without cutoff
    """
    from aiida_pseudo.data.pseudo import UpfData
    from aiida_pseudo.groups.family.cutoffs import CutoffsPseudoPotentialFamily

    if installed_family(label) is not None:
        raise FamilyError(f'family {label!r} exists; give another --label')
    with tempfile.TemporaryDirectory() as folder:
        files = _upf_files(source, Path(folder))
        flat = Path(folder) / 'flat'
        flat.mkdir()
        for path in files:
            shutil.copy(path, flat / path.name)
        try:
            family = CutoffsPseudoPotentialFamily.create_from_folder(flat, label, pseudo_type=UpfData)
        except (ValueError, OSError) as error:
            raise FamilyError(f'{source}: invalid set of UPF files, one per element is needed: {error}') from error
    try:
        for stringency, elements in (cutoffs or {}).items():
            missing = set(family.elements) - set(elements)
            if missing:
                raise FamilyError(f'cutoffs {stringency!r}: missing {", ".join(sorted(missing))}')
            family.set_cutoffs({name: dict(elements[name]) for name in family.elements}, stringency, unit='Ry')
        if _DEFAULT in (cutoffs or {}):
            family.set_default_stringency(_DEFAULT)
    except Exception:
        type(family).collection.delete(family.pk)
        raise
    return family


def _upf_files(source: Path, folder: Path) -> list[Path]:
    """Return the UPF files of a folder or archive; an archive is unpacked into ``folder``."""
    if source.is_file():
        unpacked = folder / 'archive'
        unpacked.mkdir()
        try:
            if zipfile.is_zipfile(source):
                shutil.unpack_archive(source, unpacked, 'zip')
            else:
                _unpack_tar(source, unpacked)
        except (tarfile.TarError, shutil.ReadError, ValueError, OSError) as error:
            raise FamilyError(f'{source}: cannot be unpacked ({error}); give a .tar.gz or .zip of UPF files') from error
        source = unpacked
    paths = [path for path in source.glob('*') if path.suffix.lower() == '.upf']
    paths = paths or [path for path in source.glob('*/*') if path.suffix.lower() == '.upf']
    if not paths:
        raise FamilyError(f'{source}: no UPF file found')
    return sorted(paths)


def _unpack_tar(source: Path, folder: Path) -> None:
    """Unpack the regular files of an archive.

    The filter ``data`` of :mod:`tarfile` does so as well, from Python 3.10.12 and 3.11.4 on; Debian 12 has 3.11.2.

    :raises ValueError: a file would be written outside the folder
    """
    with tarfile.open(source) as archive:
        for member in archive:
            place = (folder / member.name).resolve()
            if not place.is_relative_to(folder.resolve()):
                raise ValueError(f'{member.name!r} is outside of the archive')
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open('wb') as stream:
                    shutil.copyfileobj(content, stream)


def download_family() -> PseudoPotentialFamily:
    """Download PseudoDojo 0.4, PBEsol, scalar relativistic, standard, UPF, with aiida-pseudo.

    :raises FamilyError: the download failed
    """
    profile = get_manager().get_profile()
    program = 'from aiida_pseudo.cli import cmd_root; cmd_root()'
    command = [sys.executable, '-c', program, *(['-p', profile.name] if profile else []), 'install']
    command += ['pseudo-dojo', '-v', '0.4', '-x', 'PBEsol', '-r', 'SR', '-p', 'standard', '-f', 'upf']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    family = installed_family(DOJO)
    if done.returncode or family is None:
        lines = (done.stderr + done.stdout).strip().splitlines()
        raise FamilyError(
            f'aiida-pseudo could not download {DOJO}: {lines[-1] if lines else "no output"}; give an archive with '
            '--pseudos, or generate a small family with --generate'
        )
    return family


def generate_small_family(programs: Mapping[str, Path]) -> PseudoPotentialFamily:
    """Generate the family of light elements with ld1.x.

    :param programs: program → path
    :raises FamilyError: ld1.x is missing or failed
    """
    # not at the top: requires the extra `quantumespresso`
    from aiida_goectp.workflows.dfpt.quantumespresso.pseudos import PseudoError, generate_family

    if 'ld1.x' not in programs:
        raise FamilyError('ld1.x is not in PATH; Quantum ESPRESSO contains it, also with --install qepy')
    echo.echo_report(f'generating {GENERATED} with {programs["ld1.x"]}')
    try:
        return generate_family(label=GENERATED, ld1=str(programs['ld1.x']))
    except PseudoError as error:
        raise FamilyError(str(error)) from error
