"""Prediction: time of the network, time from structures to tensors, throughput and memory by batch size and device.

python benchmarks/predict.py FILE.jsonl.gz [--limit 200] [--devices cpu cuda] [--batch-atoms 64 256 1024 4096]
    [--model MODEL] [--json RESULT.json]
python benchmarks/predict.py FILE.jsonl.gz --kept goectp goectp-small

With ``--kept`` only predictions with and without kept preparation are compared.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from common import arguments, clock, finish, load, one_thread, table
from published_graph import published_graph

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.executable.kept_preparation import KeptPreparation
from aiida_goectp.core.formats.model_card import ModelCard
from aiida_goectp.core.learning.predict import Predictor
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.checkpoint import LoadedModel, load_model
from aiida_goectp.core.network.model import ARCHITECTURES, GoeCTP
from aiida_goectp.core.network.preparation import prepare
from aiida_goectp.core.network.prepared import PreparedFile
from aiida_goectp.data.pymatgen_convert import to_pymatgen

REPEATS = 3
TARGETS = {'published': ['total'], 'goectp': ['electronic', 'ionic']}
BATCH = 32
"""crystals in a batch where evaluations are compared"""


def random_model(preset: str, targets: list[str]) -> LoadedModel:
    """Return a network of a preset with random weights, on which the time does not depend."""
    torch.manual_seed(0)
    architecture = ARCHITECTURES[preset]
    network = GoeCTP(architecture, targets).eval()
    card = ModelCard(name='random', preset=preset, architecture=architecture, targets=targets)
    return LoadedModel(card, torch.nn.ModuleList([network]), '')


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device != 'cpu':
        torch.cuda.synchronize(device)


def reset_peak_memory(device: str) -> int:
    """Reset the peak memory, and return the memory in use in bytes."""
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    with suppress(OSError, AttributeError):  # otherwise glibc keeps freed memory
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # Linux only; elsewhere the peak is that since the start of the process
        Path('/proc/self/clear_refs').write_text('5')
    return _resident('VmRSS')


def peak_memory(device: str, start: int) -> float:
    """Return the increase of the peak memory since the reset in MiB."""
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
def compare_evaluations(crystals: CrystalSet, device: str) -> list[dict[str, Any]]:
    """Compare the fast evaluation with the plain formulas on the same batches, forward only."""
    rows = []
    for preset, targets in TARGETS.items():
        network = random_model(preset, targets).networks[0].to(device)
        graphs = prepare(crystals, preset)
        parts = np.array_split(np.arange(len(graphs)), max(1, len(graphs) // BATCH))
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
                'network': f'{preset} on {device}',
                'plain, ms per crystal': plain_time,
                'fast, ms per crystal': fast_time,
                'speed-up': plain_time / fast_time,
                'largest difference': f'{float(difference):.1e}',
            }
        )
    return rows


def throughput(crystals: CrystalSet, model: LoadedModel, device: str, sizes: list[int]) -> list[dict[str, Any]]:
    """Predict all crystals from structures, as ``goectp predict`` does, for each batch size."""
    rows = []
    for size in sizes:
        predictor = Predictor(model, device, size)
        list(predictor.run(crystals.take(range(min(8, len(crystals))))))  # compiles and fills the tables
        start = reset_peak_memory(device)
        with clock() as measured:
            failed = sum(bool(error) for chunk in predictor.run(crystals) for error in chunk.errors)
            synchronize(device)
        rows.append(
            {
                'device': device,
                'atoms in a batch': size,
                'crystals/s elapsed': len(crystals) / measured.wall,
                'crystals/s of CPU time': len(crystals) / measured.cpu,
                'peak memory, MiB': peak_memory(device, start),
                'failed': failed,
            }
        )
    return rows


@torch.no_grad()
def end_to_end(crystals: CrystalSet, chosen: LoadedModel | None) -> list[dict[str, Any]]:
    """Compare the CPU time from structures to tensors: published graph and plain formulas, and ``goectp predict``.

    The published graph is built in Python for one crystal after the other; the plain formulas then use the same edges
    from :func:`prepare`, whose time is not included. Presets have random weights.
    """
    positions = crystals.fractional_positions - np.floor(crystals.fractional_positions)
    structures = [to_pymatgen(crystal) for crystal in replace(crystals, fractional_positions=positions)]
    with clock() as graph:
        for structure in structures:
            published_graph(structure)
    model = random_model('published', ['total'])
    graphs = prepare(crystals, 'published')
    parts = np.array_split(np.arange(len(graphs)), max(1, len(graphs) // BATCH))
    batches = [GraphBatch.from_arrays(graphs.take(part)) for part in parts]
    network = []
    for _ in range(REPEATS):
        with clock() as measured:
            for batch in batches:
                model.networks[0](batch, plain=True)
        network.append(measured.cpu)
    seconds = {'published graph and plain formulas': graph.cpu + min(network)}
    models = {f'goectp predict, preset {preset}': random_model(preset, targets) for preset, targets in TARGETS.items()}
    if chosen is not None:
        models[f'goectp predict, model {chosen.card.name}'] = chosen
    for name, loaded in models.items():
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
            'prediction': name,
            'ms per crystal': 1e3 * value / len(crystals),
            'speed-up': slowest / value,
        }
        for name, value in seconds.items()
    ]


def kept_preparation(crystals: CrystalSet, names: list[str]) -> list[dict[str, Any]]:
    """Compare the CPU time of predictions that prepare the crystals, and of such that read their preparation.

    :param names: of models
    """
    rows, n = [], len(crystals)
    with TemporaryDirectory() as folder:
        path, few = Path(folder, 'prepared.npz'), crystals.take(range(min(8, n)))
        prepare(few)  # compiles
        with clock() as measured:
            kept = KeptPreparation(path, crystals, resume=False, quiet=True)
            kept.catch_up(n)
            kept.finish()
        print(f'preparation: {1e3 * measured.cpu / n:.3g} ms and {path.stat().st_size / n:.0f} bytes a crystal')
        for name in names:
            predictor = Predictor(load_model(name), 'cpu')
            list(predictor.run(few))
            seconds: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(REPEATS):
                for reads in seconds:
                    with clock() as measured, ExitStack() as stack:
                        preset = predictor.model.card.preset
                        file = stack.enter_context(PreparedFile(path, crystals, preset)) if reads else None
                        list(predictor.run(crystals, prepared=file))
                    seconds[reads].append(measured.cpu)
            without, reading = (min(times) / n for times in seconds.values())
            rows.append(
                {
                    'model': name,
                    'ms per crystal': 1e3 * without,
                    'kept, ms per crystal': 1e3 * reading,
                    'crystals/s': 1 / without,
                    'kept, crystals/s': 1 / reading,
                    'speed-up': without / reading,
                }
            )
    return rows


def main() -> None:
    """Measure and print."""
    one_thread()
    parser = arguments(__doc__.splitlines()[0], limit=200)
    found = ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']
    parser.add_argument('--devices', nargs='+', default=found, help=f'({" ".join(found)})')
    parser.add_argument('--batch-atoms', nargs='+', type=int, default=[64, 256, 1024, 4096])
    parser.add_argument('--model', help='file or name; default: preset goectp with random weights')
    parser.add_argument('--kept', nargs='+', default=[], help='models; compare only with kept preparation')
    options = parser.parse_args()
    torch.set_num_threads(1)
    crystals = load(options)
    if options.kept:
        rows = kept_preparation(crystals, options.kept)
        table(f'{len(crystals)} crystals, {crystals.atom_counts.mean():.1f} atoms on average; CPU time', rows)
        finish(options, {'crystals': len(crystals), 'kept': rows})
        return
    loaded: Callable[[], LoadedModel] = (
        (lambda: load_model(options.model))
        if options.model
        else (lambda: random_model('goectp', ['electronic', 'ionic']))
    )
    evaluations, speeds = [], []
    complete = end_to_end(crystals, load_model(options.model) if options.model else None)
    for device in options.devices:
        speeds += throughput(crystals, loaded(), device, options.batch_atoms)
        evaluations += compare_evaluations(crystals, device)
    devices = [torch.cuda.get_device_name(device) for device in options.devices if device != 'cpu']
    atoms = crystals.atom_counts.mean()
    print(f'{len(crystals)} crystals of {options.file.name}, {atoms:.1f} atoms on average; one thread on the CPU')
    table('Fast evaluation and plain formulas (CPU: CPU time; GPU: elapsed time)', evaluations)
    table('From structures to tensors (CPU time)', complete)
    table('From structures to tensors by batch size, graphs prepared in a thread', speeds)
    content = {'crystals': len(crystals), 'torch': str(torch.__version__), 'gpus': devices}
    finish(options, {**content, 'end_to_end': complete, 'evaluations': evaluations, 'throughput': speeds})


if __name__ == '__main__':
    main()
