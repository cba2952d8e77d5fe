"""Real VASP outputs read by the parser of aiida-vasp, without a job: the retrieved folder is created directly."""

from __future__ import annotations

import gzip
import io

from aiida import orm
from aiida.common.links import LinkType
from aiida.plugins import ParserFactory

LENIENT = {  # for outputs of which only vasprun.xml is stored
    'parser_settings': {
        'check_completeness': False,
        'critical_objects': ['vasprun.xml'],
        'required_quantity': [],
        'check_errors': False,
    }
}


def read(path):
    """Return the content of a file, decompressed if its name ends with .gz."""
    return gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()


def parse(computer, files, incar, settings=None, *, whole=False, options=None):
    """Parse files with the parser ``vasp.vasp``.

    :param files: name → bytes
    :param incar: requested tags
    :param options: options of the job, added to the required ones
    :return: outputs by name (``retrieved`` included), exit status, and the node if ``whole``
    """
    node = orm.CalcJobNode(computer=computer, process_type='aiida.calculations:vasp.vasp')
    node.set_option('resources', {'num_machines': 1, 'num_mpiprocs_per_machine': 1})
    for name in ('scheduler_stderr', 'scheduler_stdout'):
        node.set_option(name, f'_{name.replace("_", "-")}.txt')
    for name, value in (options or {}).items():
        node.set_option(name, value)
    inputs = {'parameters': orm.Dict(incar)}
    if settings:
        inputs['settings'] = orm.Dict(settings)
    for name, value in inputs.items():
        node.base.links.add_incoming(value.store(), LinkType.INPUT_CALC, name)
    node.store()
    retrieved = orm.FolderData()
    for name, content in files.items():
        retrieved.base.repository.put_object_from_filelike(io.BytesIO(content), name)
    retrieved.base.links.add_incoming(node, LinkType.CREATE, 'retrieved')
    retrieved.store()
    parser = ParserFactory('vasp.vasp')(node)
    code = parser.parse()
    result = ({**parser.outputs, 'retrieved': retrieved}, 0 if code is None else code.status)
    return (*result, node) if whole else result
