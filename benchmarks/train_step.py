"""Time of a training step (forward, backward, optimizer, average of the weights): fast evaluation and plain formulas.

python benchmarks/train_step.py FILE.jsonl.gz [--limit 96] [--batch-size 32] [--device cpu] [--compile]
    [--json RESULT.json]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from common import arguments, clock, finish, load, one_thread, table
from torch.nn.functional import huber_loss

from aiida_goectp.core.crystals import CrystalSet
from aiida_goectp.core.learning.settings import PUBLISHED_RECIPE, TrainSettings
from aiida_goectp.core.learning.state import TrainingState
from aiida_goectp.core.network.batch import GraphBatch
from aiida_goectp.core.network.preparation import prepare

REPEATS = 3
RECIPES = {'published': PUBLISHED_RECIPE, 'goectp': TrainSettings()}


class Variant(NamedTuple):
    """One evaluation with which the steps are taken."""

    recipe: str
    kind: str
    """plain, fast, or fast and compiled"""
    state: TrainingState
    forward: Callable[[GraphBatch], torch.Tensor]
    batches: list[GraphBatch]


def variant_of(recipe: str, kind: str, batches: list[GraphBatch], device: str) -> Variant:
    """Return a new training, with equal weights for each variant of a recipe."""
    settings = RECIPES[recipe].model_copy(update={'compile': kind.endswith('compiled')})
    state = TrainingState(settings, {}, rows=3300, device=device)
    state.begin_member(0)
    state.network.train()
    forward = state.forward if kind != 'plain' else (lambda batch: state.network(batch, plain=True))
    return Variant(recipe, kind, state, forward, batches)


def gradients_of(variant: Variant) -> torch.Tensor:
    """Return the flattened gradients of the first batch."""
    variant.state.optimizer.zero_grad(set_to_none=True)
    loss_of(variant, variant.batches[0]).backward()
    parameters = [parameter for parameter in variant.state.network.parameters() if parameter.grad is not None]
    return torch.cat([parameter.grad.flatten() for parameter in parameters])


def loss_of(variant: Variant, batch: GraphBatch) -> torch.Tensor:
    """Return the loss with ε = 5 as label, since the time of a step does not depend on labels."""
    predicted = variant.forward(batch)
    label = 5 * torch.eye(3, device=predicted.device).expand_as(predicted)
    return huber_loss(predicted, label)


def one_pass(variant: Variant, device: str) -> float:
    """Take a step on each batch, and return CPU time, or elapsed time on a GPU, in seconds."""
    with clock() as measured:
        for batch in variant.batches:
            variant.state.optimizer.zero_grad(set_to_none=True)
            loss_of(variant, batch).backward()
            variant.state.optimizer.step()
            variant.state.scheduler.step()
            variant.state.average.update_parameters(variant.state.network)
        if device != 'cpu':
            torch.cuda.synchronize(device)
    return measured.cpu if device == 'cpu' else measured.wall


def measured_variants(crystals: CrystalSet, device: str, size: int, compiled: bool) -> list[dict[str, Any]]:
    """Take the same steps by each variant in turn, and return a line for each."""
    kinds = ['plain', 'fast', *(['fast, compiled'] if compiled else [])]
    variants = []
    for recipe, settings in RECIPES.items():
        graphs = prepare(crystals, settings.preset)
        parts = np.array_split(np.arange(len(graphs)), max(1, len(graphs) // size))
        batches = [GraphBatch.from_arrays(graphs.take(part)).to(device) for part in parts]
        variants += [variant_of(recipe, kind, batches, device) for kind in kinds]
    gradients = [gradients_of(variant) for variant in variants]  # compiles as well
    seconds = [[one_pass(variant, device) for variant in variants] for _ in range(REPEATS)]
    best = np.min(seconds, axis=0)
    lines = []
    for place, variant in enumerate(variants):
        plain = next(k for k, other in enumerate(variants) if (other.recipe, other.kind) == (variant.recipe, 'plain'))
        difference = (gradients[place] - gradients[plain]).norm() / gradients[plain].norm()
        lines.append(
            {
                'preset': variant.recipe,
                'evaluation': variant.kind,
                'ms per crystal': 1e3 * best[place] / len(crystals),
                'speed-up over its plain formulas': best[plain] / best[place],
                'over the published ones': best[0] / best[place],
                'gradients differ by': f'{float(difference):.0e}',
            }
        )
    return lines


def main() -> None:
    """Measure and print."""
    one_thread()
    parser = arguments(__doc__.splitlines()[0], limit=96)
    parser.add_argument('--batch-size', type=int, default=32, help='crystals in a step (32)')
    parser.add_argument('--device', default='cpu', help='(cpu)')
    parser.add_argument('--compile', action='store_true', help='measure the compiled network as well')
    options = parser.parse_args()
    torch.set_num_threads(1)
    crystals = load(options)
    lines = measured_variants(crystals, options.device, options.batch_size, options.compile)
    atoms = crystals.atom_counts.mean()
    title = (
        f'{len(crystals)} crystals of {options.file.name}, {atoms:.1f} atoms on average, {options.batch_size} a step'
    )
    table(f'{title}; {"CPU time, one thread" if options.device == "cpu" else options.device}', lines)
    finish(options, {'crystals': len(crystals), 'torch': str(torch.__version__), 'steps': lines})


if __name__ == '__main__':
    main()
