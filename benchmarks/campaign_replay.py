"""A campaign with replayed VASP through the daemon, compared with the backtest of the same labels, settings and seed.

``python benchmarks/campaign_replay.py DATA.jsonl.gz [--pool 1000] [--start 200] [--rounds 4] [--batch 20]`` draws
crystals from a labelled table, creates a profile (SQLite, the broker of ``verdi presto``) with a running daemon, and
runs ``goectp.active_learning`` with the work chains of aiida-vasp and ``tests/replay_vasp`` in place of VASP. Then the
backtest runs in this process, and both histories are printed side by side.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import clock, finish, one_thread, table

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONAL = 'PBEsol'
DIGITS = 8
"""decimals in vasprun.xml; the labels of the backtest are rounded to them"""
TOLERANCE = 1e-12
"""relative; numbers in nodes of AiiDA have fourteen digits"""
LOCAL = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, 'withmpi': False}


def draw(options: Namespace, settings: Any) -> Path:
    """Write the rows of starting dataset and pool, drawn with the seed, with tensors rounded as in vasprun.xml."""
    from aiida_goectp.core.datasets.dataset import Dataset
    from aiida_goectp.core.selection.backtest import make_hidden_pool

    good = make_hidden_pool(Dataset.load(options.file, FUNCTIONAL), settings).dataset.crystals.ids
    rows = np.random.default_rng(options.seed).permutation(len(good))[: options.start + options.pool]
    chosen = set(good[rows].tolist())
    folder = options.folder / 'data'
    folder.mkdir()
    path: Path = folder / 'phonondb_born.jsonl.gz'
    with gzip.open(options.file, 'rt') as source, gzip.open(path, 'wt') as target:
        for row in map(json.loads, source):
            if row['id'] in chosen:
                tensors = {name: np.round(row[name], DIGITS).tolist() for name in ('eps_electronic', 'eps_ionic_fd')}
                target.write(json.dumps(row | tensors) + '\n')
    return path


def settings_of(options: Namespace) -> tuple[Any, Any]:
    """Return the settings of the backtest, and those of each training."""
    from aiida_goectp.core.learning.settings import FEW_LABELS, TrainSettings
    from aiida_goectp.core.selection.backtest import BacktestSettings

    settings = {
        'top_k': max(1, options.pool // 10),
        'start': options.start,
        'batch_size': options.batch,
        'budget': options.rounds * options.batch,
        'seeds': 1,
        'acquisitions': (options.acquisition,),
        'policy': {'mode': options.mode, 'folds': options.folds},
    }
    training = {**FEW_LABELS.model_dump(exclude_unset=True), **json.loads(options.settings or '{}')}
    return BacktestSettings.model_validate(settings), TrainSettings.model_validate(training)


@contextmanager
def profile(options: Namespace) -> Iterator[Any]:
    """Create a profile with a running daemon and load it."""
    from tests.workflows.daemon import Daemon

    daemon = Daemon(options.folder)
    daemon.run('verdi', 'presto')
    daemon.run('verdi', 'config', 'set', 'daemon.timeout', '60')
    daemon.run('verdi', 'daemon', 'start', str(options.workers))
    try:
        from aiida import load_profile

        load_profile()
        yield daemon
    finally:
        daemon.run('verdi', 'daemon', 'stop')


def codes(options: Namespace, data: Path) -> tuple[Any, Any]:
    """Return the executable of this package and the replay, each as a code on this machine."""
    from aiida import orm

    computer = orm.load_computer('localhost')
    state = options.folder / 'state'
    state.mkdir()
    script = options.folder / 'vasp'
    settings = {'PYTHONPATH': ROOT, 'GOECTP_REPLAY_DATA': data.parent, 'GOECTP_REPLAY_STATE': state}
    lines = [f"export {name}='{value}'" for name, value in settings.items()]
    script.write_text('\n'.join(['#!/bin/sh', *lines, f'exec {sys.executable} -m tests.replay_vasp', '']))
    script.chmod(0o755)
    goectp = Path(sys.executable).parent / 'goectp'
    return (
        orm.InstalledCode(label='goectp', computer=computer, filepath_executable=str(goectp)).store(),
        orm.InstalledCode(
            label='vasp', computer=computer, filepath_executable=str(script), default_calc_job_plugin='vasp.vasp'
        ).store(),
    )


def potentials(options: Namespace, pool: Any) -> dict[str, Any]:
    """Upload dummy potentials for all elements of the pool; return the arguments that name them."""
    from aiida_vasp.data.potcar import PotcarData
    from aiida_vasp.workchains.v2.vasp import VaspWorkChain
    from ase.data import chemical_symbols

    from tests.replay_vasp.fixtures import FAMILY, POTCAR

    known = VaspWorkChain.get_protocol_inputs()['potential_mapping']
    symbols = [chemical_symbols[number] for number in np.unique(pool.atomic_numbers)]
    mapping = {symbol: known.get(symbol, symbol) for symbol in symbols}
    folder = options.folder / 'potentials'
    for symbol, name in mapping.items():
        path = folder / name / 'POTCAR'
        path.parent.mkdir(parents=True)
        path.write_text(POTCAR.format(symbol=name, element=symbol))
    PotcarData.upload_potcar_family(str(folder), FAMILY, 'dummies for a benchmark', stop_if_existing=False)
    return {'potential_family': FAMILY, 'potential_mapping': mapping}


def wait(node: Any) -> None:
    """Wait for a process, and print its reports."""
    from aiida import orm

    printed = 0
    while True:
        query = orm.QueryBuilder().append(orm.ProcessNode, filters={'id': node.pk}, project='attributes.process_state')
        finished = query.first(flat=True) in ('finished', 'excepted', 'killed')
        reports = [item for item in orm.Log.collection.get_logs_for(node) if item.levelname == 'REPORT']
        for item in reports[printed:]:
            print(f'  {item.time:%H:%M:%S} {item.message}', flush=True)
        printed = len(reports)
        if finished:
            return
        time.sleep(2)


def stages(node: Any) -> list[dict[str, Any]]:
    """Return elapsed time and number of jobs of each stage, in order."""
    from aiida import orm
    from aiida.common.links import LinkType

    links = node.base.links.get_outgoing(link_type=(LinkType.CALL_WORK, LinkType.CALL_CALC)).all()
    rows = []
    for link in sorted(links, key=lambda link: link.node.pk):
        jobs = [job for job in [link.node, *link.node.called_descendants] if isinstance(job, orm.CalcJobNode)]
        seconds = (link.node.mtime - link.node.ctime).total_seconds()
        rows.append({'stage': link.link_label, 'seconds': seconds, 'jobs': len(jobs)})
    return rows


def kinds(node: Any) -> list[dict[str, Any]]:
    """Return number, mean and longest elapsed time of the processes of each kind."""
    found: dict[str, list[float]] = {}
    for item in node.called_descendants:
        found.setdefault(item.process_label, []).append((item.mtime - item.ctime).total_seconds())
    return [
        {'process': name, 'number': len(seconds), 'mean seconds': float(np.mean(seconds)), 'longest': max(seconds)}
        for name, seconds in sorted(found.items(), key=lambda item: -sum(item[1]))
    ]


def campaign(options: Namespace, task: Any, settings: Any, training: Any, data: Path) -> dict[str, Any]:
    """Run the campaign through the daemon; return its history and its cost."""
    from aiida import orm
    from aiida.engine import submit

    from aiida_goectp.calculations.campaign import read_history
    from tests.workflows.campaign.backtested import campaign_like

    with profile(options) as daemon:
        goectp, vasp = codes(options, data)
        dfpt = {
            'code': vasp,
            'protocol': orm.Str('fast'),
            'overrides': orm.Dict({'relax': False}),
            'options': orm.Dict(LOCAL),
            **{name: orm.to_aiida_type(value) for name, value in potentials(options, task.pool).items()},
        }
        limits = {'max_concurrent': options.concurrent, 'max_trainings': options.workers}
        builder = campaign_like(goectp, task, settings, training, options.seed, 'vasp', dfpt, **limits)
        with clock() as measured:
            node = submit(builder)
            wait(node)
        cpu = [sum(process.cpu_times()[:2]) for process in daemon.processes()]
        node = orm.load_node(node.pk)
        if not node.is_finished_ok:
            print(daemon.run('verdi', 'process', 'report', str(node.pk)))
            raise SystemExit(f'the campaign failed: {node.exit_message or node.exception}')
        return {
            'history': read_history(node.outputs.history),
            'seconds': measured.wall,
            'daemon_cpu': sum(cpu),
            'stages': stages(node),
            'kinds': kinds(node),
            'processes': len(node.called_descendants),
        }


def backtest(options: Namespace, task: Any, settings: Any, training: Any) -> dict[str, Any]:
    """Run the same campaign on hidden labels."""
    from aiida_goectp.core.learning.surrogate import NetworkSurrogate
    from aiida_goectp.core.selection.backtest import Campaign, RoundRecord
    from aiida_goectp.core.selection.backtest.loop import first_model

    with clock() as measured:
        surrogate = NetworkSurrogate(training, 'cpu', 1)
        initial = first_model(task, surrogate, settings, options.seed)
        loop = Campaign(task, surrogate, settings, options.acquisition, options.seed, initial)
        while isinstance(loop.advance(), RoundRecord):
            pass
    found = int(task.found(loop.dataset.crystals).sum())
    return {'history': loop.history, 'seconds': measured.wall, 'found': found, 'best': len(task.target)}


def side_by_side(one: Any, two: Any) -> list[dict[str, Any]]:
    """Return a line for each pick and each decision of both histories."""
    rows = []
    for first, second in zip(one.rounds, two.rounds, strict=False):
        for picks in zip(first.picks, second.picks, strict=False):
            pair = [f'{item.id} {item.mean:.4f} → {item.outcome} {item.value or 0:.4f}' for item in picks]
            rows.append({'round': first.number, 'campaign': pair[0], 'backtest': pair[1], 'same': pair[0] == pair[1]})
        pair = [
            f'{"adopted" if item.adopted else "kept"}: {item.metrics.get("hold-out: new")}' for item in (first, second)
        ]
        rows.append(
            {'round': first.number, 'campaign': pair[0], 'backtest': pair[1], 'same': first.adopted == second.adopted}
        )
    return rows


def run(options: Namespace) -> None:
    """Run both and print the comparison."""
    from aiida_goectp.core.datasets.dataset import Dataset
    from aiida_goectp.core.selection.backtest import make_hidden_pool, make_search_task
    from tests.workflows.campaign.backtested import differences

    settings, training = settings_of(options)
    data = draw(options, settings)
    task = make_search_task(make_hidden_pool(Dataset.load(data, FUNCTIONAL), settings), settings, options.seed)
    print(f'{len(task.start)} labels in the starting dataset, {len(task.pool)} crystals in the pool', flush=True)
    actual = campaign(options, task, settings, training, data)
    simulated = backtest(options, task, settings, training)
    exact, near = (differences(actual['history'], simulated['history'], digits) for digits in (0.0, TOLERANCE))
    table('Picks and decisions', side_by_side(actual['history'], simulated['history']))
    for where in near[:20]:
        print(f'  differs: {where}')
    table('Stages of the campaign', actual['stages'])
    table('Processes of the campaign', actual['kinds'])
    results = {
        **{name: getattr(options, name) for name in ('pool', 'start', 'rounds', 'batch', 'folds', 'seed', 'workers')},
        'max_concurrent': options.concurrent,
        'campaign_seconds': actual['seconds'],
        'daemon_cpu_seconds': actual['daemon_cpu'],
        'backtest_seconds': simulated['seconds'],
        'processes': actual['processes'],
        'best_found': f'{simulated["found"]} of {simulated["best"]}',
        'numbers_not_equal_to_the_last_bit': len(exact),
        f'differences_beyond_{TOLERANCE:g}': near,
        'equal': not near,
    }
    finish(options, results)


def main() -> None:
    """Run the benchmark."""
    one_thread()
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('file', type=Path, help='labelled JSON lines')
    parser.add_argument('--pool', type=int, default=1000, help='number of crystals in the pool')
    parser.add_argument('--start', type=int, default=200, help='number of labels in the starting dataset')
    parser.add_argument('--rounds', type=int, default=4)
    parser.add_argument('--batch', type=int, default=20, help='number of picks in a round')
    parser.add_argument('--folds', type=int, default=3, help='members of the committee')
    parser.add_argument('--mode', choices=['scratch', 'fine-tune'], default='scratch', help='mode of the retraining')
    parser.add_argument('--acquisition', default='greedy', help='acquisition function')
    parser.add_argument('--settings', help='JSON with changes of the training settings for few labels')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=2, help='workers of the daemon')
    parser.add_argument('--concurrent', type=int, default=4, help='number of simultaneous DFPT calculations')
    parser.add_argument('--folder', type=Path, help='empty folder to keep; default: a temporary folder')
    parser.add_argument('--json', type=Path, help='file to which the results are written')
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with TemporaryDirectory() as temporary:
        options.folder = (options.folder or Path(temporary)).resolve()
        options.folder.mkdir(parents=True, exist_ok=True)
        os.environ['AIIDA_PATH'] = str(options.folder)  # before anything imports aiida
        run(options)


if __name__ == '__main__':
    main()
