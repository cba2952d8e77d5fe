"""Pseudopotential families for Quantum ESPRESSO: from an archive, downloaded, or generated on the spot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiida_pseudo.groups.family import PseudoPotentialFamily

__all__ = ('DOJO', 'GENERATED', 'FamilyError', 'download_family', 'install_family', 'installed_family', 'read_cutoffs')

DOJO = 'PseudoDojo/0.4/PBEsol/SR/standard/upf'
"""label that aiida-pseudo gives to the table that the protocols prefer"""

GENERATED = 'goectp-ld1'
"""label of the family that ld1.x generates from the inputs of this package"""

_DEFAULT = 'normal'


class FamilyError(ValueError):
    """A family cannot be installed; the message says why and what to do."""


def installed_family(label: str) -> PseudoPotentialFamily | None:
    """Return the installed family of this label, ``None`` if there is none."""
    from aiida.orm import QueryBuilder
    from aiida.plugins import GroupFactory

    query = QueryBuilder().append(GroupFactory('pseudo.family'), filters={'label': label})
    found = query.first(flat=True)
    return found


def read_cutoffs(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Read recommended cutoffs: stringency → element → ``cutoff_wfc`` and ``cutoff_rho`` in Ry.

    :raises FamilyError: not JSON, or not of that shape
    """
    try:
        content = json.loads(path.read_text())
        return {
            str(stringency): {
                str(element): {name: float(values[name]) for name in ('cutoff_wfc', 'cutoff_rho')}
                for element, values in elements.items()
            }
            for stringency, elements in content.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FamilyError(
            f'{path}: no cutoffs ({type(error).__name__}: {error}); expected JSON such as '
            '{"normal": {"Si": {"cutoff_wfc": 36, "cutoff_rho": 144}}}, in Ry'
        ) from error


def install_family(
    source: Path, label: str, cutoffs: Mapping[str, Mapping[str, Any]] | None = None
) -> PseudoPotentialFamily:
    """Install the UPF files of an archive or a folder as a family, with the cutoffs recommended for them.

    :param source: folder, tar or zip archive; the files may lie one folder below the top
    :param label: of the family
    :param cutoffs: stringency → element → cutoffs in Ry; other elements than those of the family are left out
    :raises FamilyError: nothing to install there, a label that is taken, or an element without cutoff
    """
    from aiida_pseudo.data.pseudo import UpfData
    from aiida_pseudo.groups.family.cutoffs import CutoffsPseudoPotentialFamily

    if installed_family(label) is not None:
        raise FamilyError(f'a family {label!r} is there already: choose another --label')
    with tempfile.TemporaryDirectory() as folder:
        files = _upf_files(source, Path(folder))
        flat = Path(folder) / 'flat'
        flat.mkdir()
        for path in files:
            shutil.copy(path, flat / path.name)
        try:
            family = CutoffsPseudoPotentialFamily.create_from_folder(flat, label, pseudo_type=UpfData)
        except (ValueError, OSError) as error:
            raise FamilyError(f'{source}: not a set of UPF files, one for each element: {error}') from error
    try:
        for stringency, elements in (cutoffs or {}).items():
            missing = set(family.elements) - set(elements)
            if missing:
                raise FamilyError(f'cutoffs {stringency!r} lack {", ".join(sorted(missing))}')
            family.set_cutoffs({name: dict(elements[name]) for name in family.elements}, stringency, unit='Ry')
        if _DEFAULT in (cutoffs or {}):
            family.set_default_stringency(_DEFAULT)
    except Exception:
        type(family).collection.delete(family.pk)
        raise
    return family


def _upf_files(source: Path, folder: Path) -> list[Path]:
    """Return the UPF files of a folder or an archive, which is unpacked into the folder given."""
    if source.is_file():
        unpacked = folder / 'archive'
        unpacked.mkdir()
        try:
            if zipfile.is_zipfile(source):
                shutil.unpack_archive(source, unpacked, 'zip')
            else:
                with tarfile.open(source) as archive:
                    archive.extractall(unpacked, filter='data')  # nothing outside the folder, no devices
        except (tarfile.TarError, shutil.ReadError, ValueError, OSError) as error:
            raise FamilyError(f'{source}: cannot be unpacked ({error}); give a .tar.gz or .zip of UPF files') from error
        source = unpacked
    paths = [path for path in source.glob('*') if path.suffix.lower() == '.upf']
    paths = paths or [path for path in source.glob('*/*') if path.suffix.lower() == '.upf']
    if not paths:
        raise FamilyError(f'{source}: holds no UPF file')
    return sorted(paths)


def download_family() -> PseudoPotentialFamily:
    """Let aiida-pseudo download PseudoDojo 0.4, PBEsol, scalar relativistic, standard, as UPF.

    :raises FamilyError: it failed, most often for want of a network
    """
    from aiida.manage import get_manager

    profile = get_manager().get_profile()
    program = 'from aiida_pseudo.cli import cmd_root; cmd_root()'
    command = [sys.executable, '-c', program, *(['-p', profile.name] if profile else []), 'install']
    command += ['pseudo-dojo', '-v', '0.4', '-x', 'PBEsol', '-r', 'SR', '-p', 'standard', '-f', 'upf']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    family = installed_family(DOJO)
    if done.returncode or family is None:
        lines = (done.stderr + done.stdout).strip().splitlines()
        raise FamilyError(
            f'aiida-pseudo could not download {DOJO}: {lines[-1] if lines else "no answer"}; give an archive with '
            '--pseudos, or let ld1.x generate a small family with --generate'
        )
    return family
