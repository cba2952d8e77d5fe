"""Predict all structures of a folder in one job with restarts. Run with ``verdi run examples/predict_many.py``.

Needs the code goectp@localhost: ``aiida-goectp setup``.
"""

from pathlib import Path

from aiida.engine import run_get_node
from aiida.orm import SinglefileData
from aiida.plugins import DataFactory, WorkflowFactory

from aiida_goectp.calculations.structures import import_structures

folder = Path(__file__).parent / 'structures'
files = [SinglefileData(path.resolve()) for path in sorted(folder.glob('*.cif'))]
crystals = import_structures(**{f'file_{index:05d}': file for index, file in enumerate(files)})
print(f'node {crystals.pk}: {len(crystals)} crystals, {len(crystals.crystals.failures)} failures')

PredictWorkChain = WorkflowFactory('goectp.predict')
builder = PredictWorkChain.get_builder_from_protocol(
    'goectp@localhost', crystals, DataFactory('goectp.model').get_or_create('goectp-small'), protocol='fast'
)
results, node = run_get_node(builder)

if not node.is_finished_ok:
    raise SystemExit(f'failed [{node.exit_status}]: {node.exit_message}')
predictions = results['predictions'].predictions
for name, tensor, error in zip(predictions.ids, predictions.total, predictions.errors, strict=True):
    print(f'{name:30}', error or f'{tensor.trace() / 3:8.2f}')
