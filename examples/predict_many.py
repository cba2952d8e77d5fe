"""Predict all structures of a folder in one job with restarts.

Run with ``verdi run examples/predict_many.py [FOLDER]``, or in the default profile with ``python``; without FOLDER, the
structures beside this file are predicted. Needs the code goectp@localhost: ``aiida-goectp setup``.
"""

import sys
from pathlib import Path

from aiida import load_profile
from aiida.engine import run_get_node
from aiida.orm import SinglefileData
from aiida.plugins import WorkflowFactory

from aiida_goectp.calculations.structures import import_structures

load_profile()  # without effect under verdi run
# verdi run leaves only the name of the script in __file__, and its path in sys.argv
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(sys.argv[0]).resolve().parent / 'structures'
paths = sorted(folder.glob('*.cif'))
if not paths:
    raise SystemExit(f'no file {folder}/*.cif')
files = {f'file_{place:05d}': SinglefileData(path.resolve()) for place, path in enumerate(paths)}
crystals = import_structures(**files)
print(f'node {crystals.pk}: {len(crystals)} crystals, {len(crystals.crystals.failures)} failures')

PredictWorkChain = WorkflowFactory('goectp.predict')
builder = PredictWorkChain.get_builder_from_protocol('goectp@localhost', crystals, 'goectp-small', protocol='fast')
results, node = run_get_node(builder)

if not node.is_finished_ok:
    raise SystemExit(f'failed [{node.exit_status}]: {node.exit_message}')
frame = results['predictions'].to_dataframe()
print(frame[['formula', 'total', 'total_std', 'error']].to_string(float_format='{:.2f}'.format))
