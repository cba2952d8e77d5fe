"""Codes of the real pw.x and ph.x, and pseudopotential families for them."""

from __future__ import annotations

import shutil
import tarfile

import pytest

from tests.workflows.dfpt.quantumespresso.quantum_espresso import ARCHIVE, ELEMENTS, GENERATED, LABEL, LIGHT, wrapper


@pytest.fixture
def codes(aiida_profile, aiida_localhost, aiida_code_installed, tmp_path):
    """Return a function that makes the codes; its keywords are shell lines that run before a program."""
    pytest.importorskip('aiida_quantumespresso', reason='needs the extra `quantumespresso`')
    from aiida_goectp.cli.setup.programs import environment_lines

    for program in ('pw.x', 'ph.x'):
        if shutil.which(program) is None:
            pytest.skip(f'{program} is not in PATH: `aiida-goectp setup dfpt` installs it')

    def make(**scripts):
        return {
            f'{name}_code': aiida_code_installed(
                label=f'{name}-{len(scripts.get(name, ""))}-{tmp_path.name}',
                filepath_executable=str(wrapper(tmp_path, f'{name}.x', scripts.get(name, ''))),
                default_calc_job_plugin=f'quantumespresso.{name}',
                prepend_text=environment_lines(),
            )
            for name in ('pw', 'ph')
        }

    return make


@pytest.fixture
def generated_family(codes):
    """The label of a family that ld1.x generates, once a profile; for numbers that nobody compares."""
    from aiida_goectp.cli.setup.pseudo_families import installed_family
    from aiida_goectp.workflows.dfpt.quantumespresso.pseudos import generate_family

    if shutil.which('ld1.x') is None:
        pytest.skip('ld1.x is not in PATH')
    if installed_family(GENERATED) is None:
        generate_family(LIGHT, GENERATED)
    return GENERATED


@pytest.fixture
def dojo_family(codes, shared, tmp_path):
    """The label of a family of the published potentials, installed once a profile."""
    from aiida_goectp.cli.setup.pseudo_families import install_family, installed_family, read_cutoffs

    archive = shared / 'pseudos' / ARCHIVE
    if not archive.is_file():
        pytest.skip(f'needs the archive {ARCHIVE}, which is not here')
    if installed_family(LABEL) is None:
        folder = tmp_path / 'dojo'
        folder.mkdir()
        with tarfile.open(archive) as packed:
            for element in ELEMENTS:
                (folder / f'{element}.upf').write_bytes(packed.extractfile(f'{element}.upf').read())
        install_family(folder, LABEL, read_cutoffs(shared / 'pseudos' / 'cutoffs.json'))
    return LABEL
