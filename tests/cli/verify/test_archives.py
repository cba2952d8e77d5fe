"""Archives of a verification with VASP contain neither POTCAR files nor secrets."""

from __future__ import annotations

import gzip
import io
import sqlite3
import tarfile
import zipfile

import pytest
from aiida import orm
from aiida.tools.archive import create_archive
from click.testing import CliRunner

from aiida_goectp.cli.queries import latest_node
from aiida_goectp.workflows.verify import VerifyWorkChain
from tests.cli.runner import invoke
from tests.databases.materials_server import KEY, materials_server
from tests.replay_vasp.fixtures import *  # noqa: F403
from tests.replay_vasp.fixtures import POTCAR
from tests.workflows.campaign.campaign import screened

PASSWORD = 'pa55w0rd-0f-the-tests'
POTENTIAL = POTCAR.partition('END of PSCTR-controll parameters\n')[2].splitlines()[0].strip().encode()
"""text after the header; OUTCAR repeats lines of the header"""


def texts(content, folder):
    """Yield a file, and all that is compressed, packed or stored in it, at any depth."""
    yield content
    if content.startswith(b'\x1f\x8b'):
        yield from texts(gzip.decompress(content), folder)
    elif content.startswith(b'PK'):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield from texts(archive.read(name), folder)
    elif content.startswith(b'SQLite format 3\0'):  # a text may be divided among pages of the file
        path = folder / 'database.sqlite3'
        path.write_bytes(content)
        connection = sqlite3.connect(path)
        yield '\n'.join(connection.iterdump()).encode()
        connection.close()
    elif content[257:262] == b'ustar':
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive.getmembers():
                if member.isfile():
                    yield from texts(archive.extractfile(member).read(), folder)


def found(path, folder):
    """Return which of the words are in an archive."""
    words = {'potential': POTENTIAL, 'title': b'PAW_PBE Mg_pv', 'key': KEY.encode(), 'password': PASSWORD.encode()}
    contents = list(texts(path.read_bytes(), folder))
    return {name for name, word in words.items() if any(word in content for content in contents)}


@pytest.mark.slow
def test_archive_of_a_verification(replay_code, potcar_family, crystal_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MP_API_KEY', KEY)
    with materials_server() as (url, _):
        invoke('fetch', 'materials-project', '--url', url, '--delay', 0)
    crystals = latest_node('goectp.crystals')
    inputs, _ = screened(crystal_set.take([1]), number=1)
    code = replay_code()
    arguments = ['verify', inputs['selection'].pk, '--engine', 'vasp', '--code', code.full_label, '--no-relax']
    arguments += ['--potentials', potcar_family('Mg_pv', 'O'), '--protocol', 'fast', '--processes', '1']
    assert '1 accepted' in invoke(*arguments)
    (chain,) = inputs['selection'].base.links.get_outgoing(VerifyWorkChain).all_nodes()
    jobs = [node for node in chain.called_descendants if isinstance(node, orm.CalcJobNode)]
    assert jobs
    code.computer.get_authinfo(orm.User.collection.get_default()).set_auth_params({'proxy_command': PASSWORD})

    create_archive([chain, crystals], filename=tmp_path / 'result.aiida')
    assert found(tmp_path / 'result.aiida', tmp_path) == {'title'}
    # the search finds all of them in an archive of the whole profile with the settings of the connections
    orm.Str(KEY).store()
    create_archive(None, filename=tmp_path / 'all.aiida', include_authinfos=True)
    assert found(tmp_path / 'all.aiida', tmp_path) == {'potential', 'title', 'key', 'password'}

    # the same by the commands that the manual names
    from aiida.cmdline.commands.cmd_archive import archive_info, create

    result = CliRunner().invoke(create, ['--nodes', str(chain.pk), '--', 'command.aiida'])
    assert result.exit_code == 0, result.output
    assert found(tmp_path / 'command.aiida', tmp_path) == {'title'}
    for name, stored in (('command.aiida', False), ('all.aiida', True)):
        listed = CliRunner().invoke(archive_info, [name, '--detailed']).output
        assert ('potcar_file' in listed) == stored, listed
