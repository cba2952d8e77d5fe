"""Networks of preset ``force_constants`` without one of their terms, trained and evaluated alike.

``python benchmarks/ablations.py SIZES.npz FOLDER --train random-0.400 --split random-0 --settings SETTINGS.json
[--terms …]``

SIZES.npz is made by ``lattice_dataset.py --sizes 400``. A model is written to FOLDER for each term; the same command
resumes an interrupted training. The errors are those of the validation rows of ``--split``. A training evaluates the
validation rows of ``--train`` after each epoch, only to print their errors.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from common import one_thread, table
from lattice_accuracy import Evaluated, charges_of, evaluate, modes_of

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.dielectric.metrics import compare
from aiida_goectp.core.executable.main import main as goectp
from aiida_goectp.core.learning import train
from aiida_goectp.core.learning.lattice import loss
from aiida_goectp.core.network.force_constants import network
from aiida_goectp.core.network.force_constants.springs import InternalCoordinates, PairSprings

_interaction = network.dipole_interaction


def _without_derivative_of_epsilon(group: Any, cells: Any, charges: Any, electronic: Any) -> Any:
    return _interaction(group, cells, charges, electronic.detach())


def _without_derivatives(group: Any, cells: Any, charges: Any, electronic: Any) -> Any:
    return _interaction(group, cells, charges.detach(), electronic.detach())


REPLACED: dict[str, list[tuple[Any, str, Any]]] = {
    'none': [],
    'springs': [(PairSprings, 'assemble', lambda *_: 0.0)],
    'internal coordinates': [(InternalCoordinates, 'assemble', lambda *_: 0.0)],
    'dipole interaction': [(network, 'dipole_interaction', lambda *_: 0.0)],
    'derivative of ε∞ through the dipoles': [(network, 'dipole_interaction', _without_derivative_of_epsilon)],
    'derivatives through the dipoles': [(network, 'dipole_interaction', _without_derivatives)],
    'loss of the ionic part': [(train, 'permittivity_weight', lambda *_: 0.0)],
    'loss of the charges': [(loss, '_CHARGES', 0.0)],
    'weighted loss of Φ': [(loss, '_WEIGHTED', 0.0)],
    'plain loss of Φ': [(loss, '_PLAIN', 0.0)],
}
"""for each term: objects, their attributes, and what removes the term"""


def trained(term: str, options: Namespace) -> Path:
    """Return the model without a term, after its training."""
    path: Path = options.folder / f'{term.replace(" ", "-")}.safetensors'
    if not path.is_file():
        arguments = ['train', options.data, '--split', options.train, '--settings', options.settings]
        arguments += ['--output', path, '--name', path.stem, '--device', 'cpu', '--threads', 1]
        goectp([str(argument) for argument in arguments], standalone_mode=False)
    return path


def measures(found: Evaluated) -> dict[str, Any]:
    """Return the errors of tensors, charges, force constants and frequencies."""
    targets = ('electronic', 'ionic', 'total')
    errors = [compare(getattr(found.predictions, target), getattr(found.data, target)) for target in targets]
    labelled, predicted = charges_of(found)
    modes = modes_of(found)
    return {
        **{name: ' / '.join(f'{error[name]:.3g}' for error in errors) for name in ('mae', 'ewt_25', 'ewt_10')},
        'Z*, MAE, e': float(np.abs(labelled - predicted).mean()),
        'Φ, median relative error': float(np.median(modes.constant_errors)),
        'frequencies, MAE, THz': float(np.abs(modes.labelled - modes.predicted).mean()),
        'unstable': int((modes.lowest[:, 1] < 0).sum()),
    }


def main() -> None:
    """Train, evaluate and print."""
    one_thread()
    parser = ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('data', type=Path)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--train', required=True, help='split of the training')
    parser.add_argument('--split', required=True, help='split whose validation rows are evaluated')
    parser.add_argument('--settings', type=Path, required=True)
    parser.add_argument('--terms', nargs='+', choices=REPLACED, default=list(REPLACED))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = Dataset.load(options.data).part(options.split, 'validation')
    results = []
    for term in options.terms:
        with ExitStack() as stack:
            for owner, name, value in REPLACED[term]:
                stack.enter_context(mock.patch.object(owner, name, value))
            results.append({'without': term, **measures(evaluate(str(trained(term, options)), rows))})
    table(f'validation rows of {options.split}, {len(rows)} crystals', results)


if __name__ == '__main__':
    main()
