"""Graph and network: crystals per second by batch size and device, beside the published way, plain formulas, memory.

python benchmarks/predict.py FILE.jsonl.gz [--limit 200] [--devices cpu cuda] [--batch-atoms 64 256 1024 4096]
    [--model MODEL] [--json RESULT.json]
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, clock, finish, load, one_thread, table
from published_graph import published_graph

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.predict import Predictor
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model
from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP
from aiida_goectp.core.network.preparation import prepare
from aiida_goectp.data.pymatgen_convert import to_pymatgen

REPEATS = 3
TARGETS = {'published': ['total'], 'goectp': ['electronic', 'ionic']}
TOGETHER = 32
"""crystals in a batch where the two paths are compared"""


def random_model(preset: str, targets: list[str]) -> LoadedModel:
    """Return a network of a preset with random weights: speed does not depend on them."""
    torch.manual_seed(0)
    architecture = ARCHITECTURES[preset]
    network = GoeCTP(architecture, targets).eval()
    card = ModelCard(name='random', preset=preset, architecture=architecture, targets=targets)
    return LoadedModel(card, torch.nn.ModuleList([network]), '')


def synchronize(device: str) -> None:
    """Wait for a GPU, which works behind the back of the clock."""
    if device != 'cpu':
        torch.cuda.synchronize(device)


def start_of_memory(device: str) -> int:
    """Forget the peak of memory so far, and return what is in use."""
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    with suppress(OSError, AttributeError):  # glibc keeps freed memory, which would hide what is taken next
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # Linux only; elsewhere the peak is that of the whole process
        Path('/proc/self/clear_refs').write_text('5')
    return _resident('VmRSS')


def peak_of_memory(device: str, start: int) -> float:
    """Return the MiB that were taken at most since the start."""
    if device != 'cpu':
        return torch.cuda.max_memory_allocated(device) / 2**20
    return (_resident('VmHWM') - start) / 2**20


def _resident(name: str) -> int:
    status = Path('/proc/self/status')
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


@torch.no_grad()
def two_paths(crystals: CrystalSet, device: str) -> list[dict[str, Any]]:
    """Compare the fast evaluation with the plain formulas, forward, on the same batches, one after the other."""
    rows = []
    for preset, targets in TARGETS.items():
        network = random_model(preset, targets).networks[0].to(device)
        graphs = prepare(crystals, preset)
        parts = np.array_split(np.arange(len(graphs)), max(1, len(graphs) // TOGETHER))
        batches = [GraphBatch.from_arrays(graphs.take(part)).to(device) for part in parts]
        outputs = {plain: torch.cat([network(batch, plain=plain) for batch in batches]) for plain in (True, False)}
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(REPEATS):
            for plain in (True, False):
                with clock() as measured:
                    for batch in batches:
                        network(batch, plain=plain)
                    synchronize(device)
                seconds[plain].append(measured.cpu if device == 'cpu' else measured.wall)
        plain_time, fast_time = (1e3 * min(seconds[plain]) / len(graphs) for plain in (True, False))
        difference = (outputs[True] - outputs[False]).abs().max() / outputs[True].abs().max()
        rows.append(
            {
                'network alone': f'{preset} on {device}',
                'plain, ms a crystal': plain_time,
                'fast, ms a crystal': fast_time,
                'times faster': plain_time / fast_time,
                'largest difference': f'{float(difference):.1e}',
            }
        )
    return rows


def throughput(crystals: CrystalSet, model: LoadedModel, device: str, sizes: list[int]) -> list[dict[str, Any]]:
    """Predict all crystals from the structures on, as ``goectp predict`` does, for each batch size."""
    rows = []
    for size in sizes:
        predictor = Predictor(model, device, size)
        list(predictor.run(crystals.take(range(min(8, len(crystals))))))  # compiles, and fills the tables
        start = start_of_memory(device)
        with clock() as measured:
            failed = sum(bool(error) for chunk in predictor.run(crystals) for error in chunk.errors)
            synchronize(device)
        rows.append(
            {
                'device': device,
                'atoms a batch': size,
                'crystals/s on the wall': len(crystals) / measured.wall,
                'crystals/s of CPU time': len(crystals) / measured.cpu,
                'peak memory, MiB': peak_of_memory(device, start),
                'failed': failed,
            }
        )
    return rows


@torch.no_grad()
def whole_way(crystals: CrystalSet, chosen: LoadedModel | None) -> list[dict[str, Any]]:
    """From structures to tensors on the CPU: published graph and plain formulas, and what ``goectp predict`` does.

    The published graph is built in Python, crystal by crystal; the plain formulas then read the same edges from
    :func:`prepare`, whose time is not counted there. Presets have the same width, and random weights; a chosen model
    has its own width.
    """
    positions = crystals.fractional_positions - np.floor(crystals.fractional_positions)
    structures = [to_pymatgen(crystal) for crystal in replace(crystals, fractional_positions=positions)]
    with clock() as graph:
        for structure in structures:
            published_graph(structure)
    model = random_model('published', ['total'])
    graphs = prepare(crystals, 'published')
    parts = np.array_split(np.arange(len(graphs)), max(1, len(graphs) // TOGETHER))
    batches = [GraphBatch.from_arrays(graphs.take(part)) for part in parts]
    network = []
    for _ in range(REPEATS):
        with clock() as measured:
            for batch in batches:
                model.networks[0](batch, plain=True)
        network.append(measured.cpu)
    seconds = {'published graph and plain formulas': graph.cpu + min(network)}
    ours = {f'goectp predict, preset {preset}': random_model(preset, targets) for preset, targets in TARGETS.items()}
    if chosen is not None:
        ours[f'goectp predict, model {chosen.card.name}'] = chosen
    for name, loaded in ours.items():
        predictor = Predictor(loaded, 'cpu')
        list(predictor.run(crystals.take(range(min(8, len(crystals))))))
        runs = []
        for _ in range(REPEATS):
            with clock() as measured:
                list(predictor.run(crystals))
            runs.append(measured.cpu)
        seconds[name] = min(runs)
    slowest = next(iter(seconds.values()))
    return [
        {
            'from structures to tensors': name,
            'ms a crystal': 1e3 * value / len(crystals),
            'times faster': slowest / value,
        }
        for name, value in seconds.items()
    ]


def main() -> None:
    """Measure and print."""
    one_thread()
    parser = arguments(__doc__.splitlines()[0], limit=200)
    found = ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']
    parser.add_argument('--devices', nargs='+', default=found, help=f'({" ".join(found)})')
    parser.add_argument('--batch-atoms', nargs='+', type=int, default=[64, 256, 1024, 4096])
    parser.add_argument('--model', help='file or name; by default, random weights in the shape of the preset goectp')
    options = parser.parse_args()
    torch.set_num_threads(1)
    crystals = load(options)
    loaded: Callable[[], LoadedModel] = (
        (lambda: load_model(options.model))
        if options.model
        else (lambda: random_model('goectp', ['electronic', 'ionic']))
    )
    paths, speeds = [], []
    ways = whole_way(crystals, load_model(options.model) if options.model else None)
    for device in options.devices:
        speeds += throughput(crystals, loaded(), device, options.batch_atoms)
        paths += two_paths(crystals, device)
    devices = [torch.cuda.get_device_name(device) for device in options.devices if device != 'cpu']
    atoms = crystals.atom_counts.mean()
    print(f'{len(crystals)} crystals of {options.file.name}, {atoms:.1f} atoms on average; one thread on the CPU')
    table('the fast evaluation beside the plain formulas (CPU: CPU time; GPU: time on the wall)', paths)
    table('the whole way beside the published one (CPU time)', ways)
    table('from structures to tensors, graph building in a thread beside the network', speeds)
    content = {'crystals': len(crystals), 'torch': str(torch.__version__), 'gpus': devices}
    finish(options, {**content, 'whole_way': ways, 'paths': paths, 'throughput': speeds})


if __name__ == '__main__':
    main()
