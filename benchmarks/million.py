"""``ScreenWorkChain`` over up to a million crystals: time of each stage, nodes, and peak memory of each process.

python benchmarks/million.py FILE [--rows 10000 100000 1000000] [--preset published] [--figure OUT.png]
    [--json RESULT.json] [--folder FOLDER]

The crystals are those of FILE with other elements of the same group of the periodic table, strained by a few percent.
With ``--network thin`` a network with random weights and few channels predicts them. With ``--network constant`` the
tensors are a function of the lattice, and no graphs are made: then the jobs take the time that ``goectp predict`` needs
besides. Each number of rows has a profile of its own (SQLite,
the broker of ``verdi presto``, a daemon with one worker), and one job runs at a time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
from common import machine, one_thread, table

ROOT = Path(__file__).resolve().parents[1]
GROUPS = (
    (3, 11, 19, 37, 55),
    (4, 12, 20, 38, 56),
    (21, 39, 57),
    (22, 40, 72),
    (23, 41, 73),
    (24, 42, 74),
    (13, 31, 49, 81),
    (14, 32, 50, 82),
    (15, 33, 51, 83),
    (8, 16, 34, 52),
    (9, 17, 35, 53),
    (29, 47, 79),
    (30, 48, 80),
    (27, 45, 77),
    (28, 46, 78),
)
"""atomic numbers of elements that replace each other"""
OPTIONS = {'width': 16, 'layers': 1, 'bins': 16}
SHELL = """#!/bin/bash
export PYTHONPATH={root}
TIMEFORMAT='%R %U %S'
{{ time {goectp} "$@" 2>&3; }} 3>&2 2>>{log}
"""
"""runs the executable and notes its elapsed time, and its CPU time in user and system mode"""


def make_pool(options: Namespace) -> None:
    """Write the crystals: each row of the file in turn, with elements and strain drawn with a fixed seed."""
    from aiida_goectp.core.crystals import CrystalSet
    from aiida_goectp.core.crystals.readers import read_structures
    from aiida_goectp.core.formats.ragged import ranges

    parents, n = read_structures([options.file]), options.rows[0]
    rng = np.random.default_rng(0)
    rows = np.arange(n) % len(parents)
    atoms, offsets = ranges(parents.atom_offsets, rows)
    numbers = parents.atomic_numbers[atoms].astype(np.int16)
    crystal = np.repeat(np.arange(n), np.diff(offsets))
    for group in GROUPS:
        members = np.array(group)
        shift = rng.integers(0, len(group), n) * (np.arange(n) >= len(parents))
        inside = np.flatnonzero(np.isin(numbers, members))
        places = np.searchsorted(members, numbers[inside])
        numbers[inside] = members[(places + shift[crystal[inside]]) % len(group)]
    strain = rng.normal(scale=0.005, size=(n, 3, 3)) * (rng.random(n) < 1 / 3)[:, None, None]
    scale = 1 + rng.uniform(-0.03, 0.06, n)
    stretch = scale[:, None, None] * (np.eye(3) + strain + np.swapaxes(strain, 1, 2))
    CrystalSet(
        parents.lattices[rows] @ stretch,
        offsets,
        numbers,
        parents.fractional_positions[atoms],
        np.char.add('row-', np.arange(n).astype(np.str_)),
        {'band_gap': np.abs(rng.normal(scale=2.0, size=n))},
    ).save(options.folder / 'pool.npz')


def write_model(options: Namespace) -> None:
    """Write a network with random weights."""
    import torch

    from aiida_goectp.core.formats.model_card import ModelCard
    from aiida_goectp.core.network.checkpoint import save_model
    from aiida_goectp.core.network.model import architecture_of, build_network

    torch.manual_seed(0)
    architecture, targets = architecture_of(options.preset, OPTIONS), ['electronic', 'ionic']
    card = ModelCard(name='thin', preset=options.preset, architecture=architecture, targets=targets, members=1)
    save_model(options.folder / 'thin.safetensors', [build_network(architecture, targets)], card)


def peak_memory(process: psutil.Process) -> float:
    """Return the largest resident memory of a process so far, MiB."""
    lines = Path(f'/proc/{process.pid}/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith('VmHWM')).split()[1]) / 1024


class Memory(threading.Thread):
    """Peak memory of the workers of the daemon and of the jobs in a folder, sampled twice a second."""

    def __init__(self, daemon: Any) -> None:
        super().__init__(daemon=True)
        self.daemon_processes, self.folder = daemon.processes, str(daemon.folder)
        self.peaks, self.ended = {'worker': 0.0, 'job': 0.0}, threading.Event()

    def run(self) -> None:
        """Sample until the end."""
        while not self.ended.wait(0.5):
            workers = [('worker', process) for process in self.daemon_processes()[1:]]
            jobs = [('job', process) for process in psutil.process_iter() if self._is_job(process)]
            for kind, process in workers + jobs:
                try:
                    self.peaks[kind] = max(self.peaks[kind], peak_memory(process))
                except (OSError, psutil.Error, StopIteration):  # it has ended
                    continue

    def _is_job(self, process: psutil.Process) -> bool:
        try:
            return process.cwd().startswith(self.folder) and 'crystals.npz' in process.cmdline()
        except (OSError, psutil.Error):
            return False


def screen(options: Namespace) -> None:
    """Run the screen in a profile of its own, in this process as the client, and write what was measured."""
    import tests.workflows.daemon as daemons

    folder = options.folder
    os.environ['AIIDA_PATH'] = str(folder)
    daemon = daemons.Daemon(folder)
    daemon.run('verdi', 'presto')
    daemon.run('verdi', 'config', 'set', 'daemon.timeout', '60')
    daemon.run('verdi', 'daemon', 'start', '1')
    try:
        from aiida import load_profile

        load_profile()
        memory = Memory(daemon)
        memory.start()
        result = measured(options, daemon)
        memory.ended.set()
        memory.join()
        peaks = {'client': peak_memory(psutil.Process()), **memory.peaks}
        result['peak memory, MiB'] = {name: round(value) for name, value in peaks.items()}
        (folder / 'result.json').write_text(json.dumps(result))
    finally:
        daemon.run('verdi', 'daemon', 'stop')


def measured(options: Namespace, daemon: Any) -> dict[str, Any]:
    """Import the pool, screen it, show and export the result; return times in s and numbers of nodes."""
    from aiida import orm
    from aiida.engine import submit

    from aiida_goectp.core.crystals import CrystalSet
    from aiida_goectp.data.crystals import CrystalsData
    from aiida_goectp.data.model import ModelData
    from aiida_goectp.workflows.screen import ScreenWorkChain

    folder, begin = options.folder, time.perf_counter()
    crystals = CrystalsData(CrystalSet.load(folder / 'pool.npz')).store()
    imported = time.perf_counter() - begin
    script, log = folder / 'goectp-timed', folder / 'jobs.log'
    goectp = f'{sys.executable} {ROOT / "benchmarks" / "constant_network.py"}'
    if options.network != 'constant':
        goectp = str(Path(sys.executable).parent / 'goectp')
    script.write_text(SHELL.format(root=ROOT, goectp=goectp, log=log))
    script.chmod(0o755)
    computer = orm.load_computer('localhost')
    code = orm.InstalledCode(label='goectp', computer=computer, filepath_executable=str(script)).store()
    model = ModelData.get_or_create(folder / 'thin.safetensors')
    before = orm.QueryBuilder().append(orm.Node).count()
    overrides = {'predict': {'goectp': {'device': 'cpu'}}, 'keep_duplicates': options.keep_duplicates}
    builder = ScreenWorkChain.get_builder_from_protocol(code, crystals, model, overrides=overrides)
    submitted, cpu = time.perf_counter(), cpu_time(daemon)
    node = submit(builder)
    wait(node)
    elapsed, cpu = time.perf_counter() - submitted, cpu_time(daemon) - cpu
    node = orm.load_node(node.pk)
    if not node.is_finished_ok:
        print(daemon.run('verdi', 'process', 'report', str(node.pk)))
        raise SystemExit(f'the screen failed: {node.exit_message or node.exception}')
    spans = [tuple(map(float, line.split())) for line in log.read_text().splitlines()]
    wall, user, system = (sum(column) for column in zip(*spans, strict=True))
    stages = {
        name: (called.mtime - called.ctime).total_seconds()
        for called in node.called
        if (name := called.process_label) in ('merge_predictions', 'rank_crystals', 'select_top')
    }
    return {
        'rows': len(crystals),
        'shards': len(spans),
        'nodes': orm.QueryBuilder().append(orm.Node).count() - before,
        'import': imported,
        'screen': elapsed,
        'jobs': wall,
        'merge': stages['merge_predictions'],
        'rank': stages['rank_crystals'],
        'select': stages['select_top'],
        'CPU of jobs': user + system,
        'CPU of AiiDA': cpu,
        'ranked': node.outputs.ranking.base.attributes.get('ranked'),
        'commands': commands(options, daemon, node),
    }


def cpu_time(daemon: Any) -> float:
    """Return the CPU time of this process and of the daemon in s, without the jobs."""
    return sum(sum(process.cpu_times()[:2]) for process in [psutil.Process(), *daemon.processes()])


def wait(node: Any) -> None:
    """Wait for a process."""
    from aiida import orm

    query = orm.QueryBuilder().append(orm.ProcessNode, filters={'id': node.pk}, project='attributes.process_state')
    while query.first(flat=True) not in ('finished', 'excepted', 'killed'):
        time.sleep(1)


def commands(options: Namespace, daemon: Any, node: Any) -> dict[str, dict[str, float]]:
    """Return elapsed time in s and peak memory in MiB of commands of ``aiida-goectp`` on the result."""
    ranking, predictions = str(node.outputs.ranking.pk), str(node.outputs.predictions.pk)
    calls = {
        'show screen': ('show', str(node.pk)),
        'show ranking': ('show', ranking),
        'export ranking': ('data', 'goectp', 'ranking', 'export', ranking, '--format', 'csv', '-o', 'ranking.csv'),
        'export predictions': (
            'data',
            'goectp',
            'predictions',
            'export',
            predictions,
            '--format',
            'csv',
            '-o',
            'all.csv',
        ),
        'report': ('report', str(node.pk), '--html', 'report.html'),
        'plot distribution': ('plot', 'distribution', str(node.pk), '--output', 'distribution.png'),
        'plot gap': ('plot', 'gap', str(node.pk), '--output', 'gap.png'),
    }
    found = {}
    for name, arguments in calls.items():
        if options.commands and name.split(maxsplit=1)[0] not in options.commands:
            continue
        begin = time.perf_counter()
        process = psutil.Popen(
            [Path(sys.executable).parent / ('verdi' if arguments[0] == 'data' else 'aiida-goectp'), *arguments],
            env=daemon.environment,
            cwd=options.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        peak = 0.0
        while process.poll() is None:
            try:
                peak = max(peak, peak_memory(process))
            except (OSError, StopIteration):
                break
            time.sleep(0.05)
        error = process.communicate()[1].decode()
        if process.returncode:
            print(f'{name}: {error[-500:]}', file=sys.stderr)
        found[name] = {'s': time.perf_counter() - begin, 'MiB': peak, 'exit': process.returncode}
    return found


def part(options: Namespace, name: str, rows: int, folder: Path) -> None:
    """Run a part of this script in a process of its own, so that its memory is that of the part."""
    arguments = [str(options.file), '--part', name, '--rows', str(rows), '--folder', str(folder)]
    arguments += ['--preset', options.preset, '--network', options.network, '--commands', *options.commands]
    arguments += ['--keep-duplicates'] * options.keep_duplicates
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    subprocess.run([sys.executable, __file__, *arguments], check=True, env=environment)


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Draw time and memory against the number of rows."""
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    rows = [item['rows'] for item in results]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout='constrained')
    lines = {'screen': 'o-', 'jobs': 's--', 'import': 'v-', 'merge': '^-', 'rank': 'D-'}
    names = {'screen': 'whole screen', 'jobs': 'jobs: prediction', 'import': 'import', 'merge': 'merge', 'rank': 'rank'}
    for name, style in lines.items():
        left.loglog(rows, [item[name] for item in results], style, label=names[name])
    left.set(xlabel='crystals', ylabel='elapsed time / s')
    for name, style in {'client': 'o-', 'worker': 's-', 'job': '^-'}.items():
        peaks = [item['peak memory, MiB'][name] for item in results]
        right.loglog(rows, peaks, style, label=name)
    right.axhline(1500e6 / 2**20, color='0.6', linewidth=1, linestyle=':', label='1.5 GB')
    right.set(xlabel='crystals', ylabel='peak memory / MiB', ylim=(100, 4000))
    for axes in (left, right):
        axes.grid(visible=True, alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run all numbers of rows one after the other, and print and draw the results."""
    one_thread()
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('file', type=Path, help='structures: JSON lines, crystals.npz, CIF …, or a folder')
    parser.add_argument('--rows', nargs='+', type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument('--preset', default='published', help='of the network (published)')
    parser.add_argument('--network', choices=('thin', 'constant'), default='constant', help='(constant)')
    parser.add_argument('--keep-duplicates', action='store_true', help='do not search for equal crystals')
    parser.add_argument('--commands', nargs='*', default=[], help='of aiida-goectp to measure on the results (all)')
    parser.add_argument('--figure', type=Path, help='file of the figure')
    parser.add_argument('--json', type=Path, help='file to which the results are written')
    parser.add_argument('--folder', type=Path, help='an empty folder in which everything is kept')
    parser.add_argument('--part', choices=('pool', 'screen'), help='used by this script itself')
    options = parser.parse_args()
    if options.part == 'pool':
        make_pool(options)
        write_model(options)
        return
    if options.part == 'screen':
        screen(options)
        return
    results = []
    with TemporaryDirectory() as temporary:
        for rows in options.rows:
            folder = (options.folder or Path(temporary)).resolve() / str(rows)
            folder.mkdir(parents=True)
            part(options, 'pool', rows, folder)
            part(options, 'screen', rows, folder)
            results.append(json.loads((folder / 'result.json').read_text()))
            print(json.dumps(results[-1]), flush=True)
    flat = [{key: value for key, value in item.items() if not isinstance(value, dict)} for item in results]
    table('Time in s', flat)
    table('Peak memory, MiB', [{'rows': item['rows'], **item['peak memory, MiB']} for item in results])
    if options.json:
        content = {'machine': machine(), 'file': options.file.name, 'preset': options.preset, 'results': results}
        options.json.write_text(json.dumps(content, indent=1) + '\n')
    if options.figure:
        draw(results, options.figure)


if __name__ == '__main__':
    main()
