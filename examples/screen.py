"""Screen crystals by a figure of merit.

Run with ``verdi run examples/screen.py PK``, or in the default profile with ``python``. PK is that of
a crystals node; without it, the last one is screened. Needs the code goectp@localhost (``aiida-goectp setup``) and
crystals (``aiida-goectp import``). To run the work chain by the daemon, use ``submit`` instead of ``run_get_node``.
"""

import sys

from aiida import load_profile
from aiida.engine import run_get_node
from aiida.orm import QueryBuilder, load_node
from aiida.plugins import DataFactory, WorkflowFactory

load_profile()  # without effect under verdi run
CrystalsData = DataFactory('goectp.crystals')
newest = QueryBuilder().append(CrystalsData).order_by({CrystalsData: {'id': 'desc'}})
crystals = load_node(sys.argv[1]) if len(sys.argv) > 1 else newest.first(flat=True)
if crystals is None:
    raise SystemExit('no crystals are stored; import some: aiida-goectp import examples/structures')
has_gap = 'band_gap' in crystals.columns

ScreenWorkChain = WorkflowFactory('goectp.screen')
builder = ScreenWorkChain.get_builder_from_protocol(
    'goectp@localhost',
    crystals,
    'goectp-small',
    protocol='fast',
    filters={'min_gap': 0.1, 'max_atoms': 40} if has_gap else {'max_atoms': 40},
    overrides={'figure_of_merit': 'gap_total' if has_gap else 'total', 'number': 5},
    # on a cluster: options={'queue_name': 'gpu', 'account': 'me'}, gpus=1
)
results, node = run_get_node(builder)

if not node.is_finished_ok:
    raise SystemExit(f'failed [{node.exit_status}]: {node.exit_message}')
for item in results['selection'].get_list():
    structure = results['structures'][item['structure']]
    print(f'{item["rank"]:3} {item["id"]:30} {item["score"]:10.2f}   structure {structure.pk}')
