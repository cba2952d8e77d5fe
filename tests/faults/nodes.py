"""What the fault suite does with AiiDA: submits processes, and counts and compares what they left.

Each function is called in a client of :mod:`tests.faults.forked`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.common.links import LinkType

from tests.workflows.campaign import searching
from tests.workflows.dfpt.quantumespresso.quantum_espresso import CHEAP, GENERATED, LIGHT, rocksalt

__all__ = (
    'add_code',
    'add_quantum_espresso',
    'fingerprint',
    'is_complete',
    'is_readable',
    'labels',
    'last_process',
    'play',
    'progress',
    'repair',
    'repeated_calls',
    'submit',
    'work_folders',
    'write_out',
)


def add_code(executable: str, work: str, label: str, configuration: dict[str, Any]) -> None:
    """Store the executable as the code ``goectp``, and a shell as ``bash``, on a new computer.

    :param work: folder of the jobs
    :param configuration: of the computer; ``transport`` is ``core.local`` if not given
    """
    transport = configuration.pop('transport', 'core.local')
    if transport == 'core.local':
        configuration['use_login_shell'] = False
    computer = orm.Computer(
        label=label, hostname='localhost', transport_type=transport, scheduler_type='core.direct', workdir=work
    ).store()
    computer.set_minimum_job_poll_interval(0.3)
    computer.set_default_mpiprocs_per_machine(1)
    computer.configure(safe_interval=0.0, **configuration)
    for name, path in (('goectp', executable), ('bash', '/bin/bash')):
        orm.InstalledCode(label=name, computer=computer, filepath_executable=path).store()


def add_quantum_espresso(label: str) -> None:
    """Store ``pw.x`` and ``ph.x`` of this machine as the codes ``pw`` and ``ph``, and a family of pseudopotentials.

    :param label: of the computer
    """
    from aiida_goectp.cli.setup.programs import environment_lines
    from aiida_goectp.workflows.dfpt.quantumespresso.pseudos import generate_family

    for name in ('pw', 'ph'):
        orm.InstalledCode(
            label=name,
            computer=orm.load_computer(label),
            filepath_executable=str(shutil.which(f'{name}.x')),
            default_calc_job_plugin=f'quantumespresso.{name}',
            prepend_text=environment_lines(),
        ).store()
    generate_family(LIGHT, GENERATED)


def submit(name: str, computer: str, model: str, crystals: str, slow: float, seconds: float) -> int:
    """Submit a process, and return its PK.

    :param name: ``predict``, ``screen``, ``campaign`` or ``dfpt``
    :param model: model file
    :param crystals: file of the crystals of predictions and screens
    :param slow: pause of ``goectp`` after each batch, s
    :param seconds: duration of a DFPT calculation of a campaign; campaigns with the same value reuse the results of
        each other
    """
    from aiida.engine import submit as submit_process

    from aiida_goectp.data.model import ModelData

    if name == 'dfpt':
        return int(submit_process(_quantum_espresso(computer)).pk)
    code = orm.load_code(f'goectp@{computer}')
    options: dict[str, Any] = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}}
    options['environment_variables'] = {'OMP_NUM_THREADS': '1', 'GOECTP_TEST_FAULT': f'slow={slow}'}
    node = ModelData.get_or_create(model)
    if name == 'campaign':
        builder = _campaign(code, node, options, {'code': orm.load_code(f'bash@{computer}'), 'seconds': seconds})
    else:
        builder = _prediction(name, code, node, Path(crystals), options)
    return int(submit_process(builder).pk)


def _prediction(name: str, code: Any, model: Any, crystals: Path, options: dict[str, Any]) -> Any:
    """Return the builder of a prediction, or of a screen in shards of eight crystals."""
    from aiida_goectp.core.crystals import CrystalSet
    from aiida_goectp.data.crystals import CrystalsData
    from aiida_goectp.workflows.predict import PredictWorkChain
    from aiida_goectp.workflows.screen import ScreenWorkChain

    nodes = (CrystalsData(CrystalSet.load(crystals)).store(), model)
    jobs = {'goectp': {'device': 'cpu', 'batch_atoms': 16}}
    if name == 'predict':
        return PredictWorkChain.get_builder_from_protocol(code, *nodes, None, jobs, options)
    overrides = {'predict': jobs, 'shard_size': 8, 'max_concurrent_shards': 2, 'number': 3}
    return ScreenWorkChain.get_builder_from_protocol(code, *nodes, None, overrides, None, options)


def _quantum_espresso(computer: str) -> Any:
    """Return the builder of a response of lithium fluoride by ``pw.x`` and ``ph.x``, of rough numbers."""
    from aiida_goectp.workflows.dfpt.quantumespresso.workchain import QuantumEspressoDfptWorkChain
    from aiida_goectp.workflows.protocols.mixin import merge

    attempts = {step: {'max_iterations': 3} for step in ('scf', 'ph')}
    return QuantumEspressoDfptWorkChain.get_builder_from_protocol(
        pw_code=orm.load_code(f'pw@{computer}'),
        ph_code=orm.load_code(f'ph@{computer}'),
        structure=rocksalt('Li', 'F', 4.01),
        protocol='fast',
        overrides=merge(CHEAP, attempts),
        pseudo_family=GENERATED,
    )


def _campaign(code: Any, model: Any, options: dict[str, Any], dfpt: dict[str, Any]) -> Any:
    """Return the builder of a campaign of two rounds of two picks without training, on the pool of all campaigns."""
    from aiida_goectp.data.crystals import CrystalsData
    from aiida_goectp.data.dataset import DatasetData

    found = []
    for label, kind, make in (
        ('pool', CrystalsData, searching.some_pool),
        ('start', DatasetData, searching.start_dataset),
    ):
        node = orm.QueryBuilder().append(kind, filters={'label': label}).first(flat=True)
        if node is None:
            node = make()
            node.label = label
        found.append(node)
    searching.OPTIONS |= options
    return searching.campaign(code, model, pool=found[0], dataset=found[1], retrain=False, dfpt=dfpt)


def progress(pk: int) -> dict[str, Any]:
    """Return whether a process has ended, the PKs of paused processes below it, and the states of the others."""
    node = orm.load_node(pk)
    active = [item for item in [node, *node.called_descendants] if not item.is_terminated]
    return {
        'ended': node.is_terminated,
        'paused': [item.pk for item in active if item.paused],
        'states': [f'{item.process_label}<{item.pk}> {item.process_state}' for item in active],
    }


def play(pks: list[int]) -> None:
    """Let paused processes go on, as ``verdi process play`` does."""
    from aiida.engine.processes.control import play_processes

    play_processes([orm.load_node(pk) for pk in pks], timeout=20)


def repair() -> list[int]:
    """Give the tasks that the broker lost back to it, as ``verdi process repair`` does; return their PKs."""
    from aiida.brokers.zeromq.broker import ZeromqBroker
    from aiida.engine.processes.control import get_active_processes, get_process_tasks, revive_processes
    from aiida.manage import get_manager

    broker = get_manager().get_broker()
    lost = sorted(set(get_active_processes(project='id')) - set(get_process_tasks(broker)))
    if not isinstance(broker, ZeromqBroker):  # revive_processes would wait for the stopped daemon
        for pk in lost:
            get_manager().get_process_controller().continue_process(pk)
    elif lost:
        revive_processes([orm.load_node(pk) for pk in lost], wait=False)
    return lost


def fingerprint(pk: int) -> dict[str, Any]:
    """Return exit status, and what the outputs of a process contain but for times, as plain data."""
    node = orm.load_node(pk)
    found: dict[str, Any] = {'exit_status': node.exit_status}
    if not node.is_finished_ok:
        found['message'] = str(node.exit_message or node.exception)
    for name, output in node.base.links.get_outgoing(link_type=LinkType.RETURN).nested().items():
        if name in ('remote_folder', 'status', 'core_hours'):  # contain times
            continue
        found[name] = _content(name, output)
    return found


def _content(name: str, output: Any) -> Any:
    if isinstance(output, dict):
        return {label: _content(label, one) for label, one in output.items()}
    if name == 'predictions':
        table = output.predictions
        return [table.ids.tolist(), table.total.tolist(), table.electronic.tolist(), table.errors.tolist()]
    if name == 'ranking':
        return [output.ranking.ids.tolist(), output.ranking.rank.tolist(), output.ranking.score.tolist()]
    if name == 'history':
        rounds = output.get_dict()['rounds']
        return [[(item['id'], item['value']) for item in one['picks']] for one in rounds]
    if isinstance(output, orm.StructureData):
        return [output.get_formula(), output.cell]
    if hasattr(output, 'content_hash'):
        return output.content_hash
    return json.loads(json.dumps(getattr(output, 'value', None) or output.base.attributes.all))


def labels(pk: int) -> int:
    """Return the number of rows of the dataset of a campaign, also of one that failed."""
    node = orm.load_node(pk)
    return len(node.outputs.dataset) if 'dataset' in node.outputs else 0


def repeated_calls(pk: int) -> list[str]:
    """Return the labels of calls that finished more than once in the same work chain."""
    repeated: list[str] = []
    node = orm.load_node(pk)
    for caller in [node, *node.called_descendants]:
        calls = caller.base.links.get_outgoing(link_type=(LinkType.CALL_WORK, LinkType.CALL_CALC)).all()
        counts = Counter(link.link_label for link in calls if link.node.is_finished_ok and link.link_label != 'CALL')
        repeated += [f'{caller.process_label}<{caller.pk}>: {label}' for label, count in counts.items() if count > 1]
    return repeated


def work_folders(pk: int) -> list[str]:
    """Return the folders of the jobs of a process."""
    jobs = [item for item in orm.load_node(pk).called_descendants if isinstance(item, orm.CalcJobNode)]
    return [os.path.realpath(folder) for job in jobs if (folder := job.get_remote_workdir())]


def last_process() -> int:
    """Return the PK of the prediction that was submitted last."""
    builder = orm.QueryBuilder().append(orm.WorkChainNode, project='id').order_by({orm.WorkChainNode: {'id': 'desc'}})
    return int(builder.first(flat=True))


def write_out(command: str, pk: int, path: str) -> str:
    """Write an archive with a process, or export its predictions as npz; return the error, empty if there is none."""
    from aiida.tools.archive import create_archive
    from click.testing import CliRunner

    from aiida_goectp.cli.data import data_goectp

    node = orm.load_node(pk)
    if command == 'export':
        words = ['predictions', 'export', str(node.outputs.predictions.pk), '--output', path]
        result = CliRunner().invoke(data_goectp, words)
        return '' if result.exit_code == 0 else f'{result.exit_code}: {result.output} {result.exception!r}'
    try:
        create_archive([node], filename=Path(path), overwrite=True)
    except Exception as error:  # of the disk, of SQLite or of the zip file
        return repr(error)
    return ''


def is_readable(path: str) -> bool:
    """Return whether a file passes for an archive or an export."""
    from aiida.tools.archive.abstract import get_format

    from aiida_goectp.core.dielectric.predictions import Predictions

    try:
        if path.endswith('.npz'):
            return len(Predictions.load(path)) > 0
        with get_format().open(path, 'r') as archive:
            return archive.querybuilder().append(orm.Node).count() > 0
    except Exception:  # whatever a damaged archive raises
        return False


def is_complete(command: str, pk: int, path: str) -> bool:
    """Return whether a file has the predictions of a process, and the archive its whole tree."""
    from aiida.tools.archive.abstract import get_format

    from aiida_goectp.core.dielectric.predictions import Predictions

    node = orm.load_node(pk)
    content = node.outputs.predictions.content_hash
    if command == 'export':
        return Predictions.load(path).content_hash == content
    with get_format().open(path, 'r') as archive:
        uuids = set(archive.querybuilder().append(orm.Node, project='uuid').all(flat=True))
        found = archive.get(orm.Node, uuid=node.outputs.predictions.uuid)
        with found.base.repository.open('predictions.npz', 'rb') as stream:
            hashed = Predictions.load(stream).content_hash
    expected = {node.uuid, *(item.uuid for item in node.called_descendants)}
    return expected <= uuids and hashed == content
