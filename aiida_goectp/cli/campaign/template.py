"""Example configuration of a campaign, with comments."""

from __future__ import annotations

__all__ = ('TEMPLATE',)

TEMPLATE = """\
# Configuration of a campaign: aiida-goectp campaign start THIS_FILE --dry-run
# Paths are relative to the folder of this file. The protocol gives the keys that are left out. Lines that begin with
# '#' show further keys.

label: my first campaign

# The crystals to search: PK, UUID or label of a node (aiida-goectp import), or files and folders.
pool:
  source: structures
  # recursive: true                         # read files in subfolders
  # properties: structures/properties.csv   # property columns by id, e.g. band_gap
  # table: {id_column: material, missing: [N/A], ignore_unknown: true}

# The starting dataset: a node (aiida-goectp dataset), a dataset.npz or labelled JSON lines.
dataset:
  source: labels.jsonl
  # functional: PBEsol                      # of rows without one
  # split_file: splits.json
# split: random-0                           # base split: validation calibrates, test is the hold-out; default: new

# The initial model: node, shipped model or file. Without it, a model is trained on the dataset first.
model: goectp
# predictions: 1234                         # node of predictions of the pool by this model
# labels: 1235                              # node of a dataset with further labels, as if of earlier rounds

# DFPT, with the options of `aiida-goectp verify`.
engine: quantumespresso                     # or vasp, or the entry point of another engine
dfpt:
  protocol: balanced                        # fast, balanced, stringent
  # codes: {pw: pw@cluster, ph: ph@cluster} # default: ROLE@localhost
  # potentials: PseudoDojo/0.4/PBEsol/SR/standard/upf
  # relax: true
  # electronic_only: false
  # processes: 16
  # queue: normal
  # account: project
  # wall_time: 43200                        # s
  # options: {}                             # further options of each job
  # overrides: {}                           # overrides of the protocol of the engine
  # arguments: {}                           # any other argument of the engine
# thresholds: {residual_forces: 0.02}       # of quality gates; off disables one
# reuse: true                               # use stored responses of equal calculations

# Predictions and trainings.
protocol: balanced                          # fast, balanced, stringent
# code: goectp@cluster                      # default: goectp@localhost
# device: auto                              # cpu, cuda, cuda:1
# gpus: 1                                   # GPUs to request per job
# options: {queue_name: gpu}                # options of each job

# The objective, and the picking of a batch.
picking:
  batch_size: 20                            # calculations per round
  figure_of_merit: total                    # total, electronic, gap_total, refractive_index, …
  # filters: {min_gap: 1.0, max_hull: 0.05, max_atoms: 20, elements_none: [Pb, Cd]}
  # acquisition: {name: greedy, weigh_stability: true}   # upper_confidence_bound, expected_improvement, pareto, …
  # diversity: {structures: true, copies: true}
  # pruning: {margin: 3, every: 4}        # predict again only crystals that could be picked; default: all

# The first rule that applies ends the campaign.
stop_rules:
  max_rounds: 10
  # max_calculations: 200
  # max_core_hours: 1000
  # calibrated_error: {error: 0.1, coverage: 0.8, rounds: 2}
  # stable_top: {k: 10, rounds: 3}
  # threshold: {value: 50.0, kappa: 1.0}

# When and how to retrain; folds is the size of the committee.
retraining:
  every_rounds: 1
  # mode: fine-tune                         # or scratch, the default without an initial model
  # every_labels: 40
  # scratch_every: 5
  # folds: 5
# training: {epochs: 60, learning_rate: 0.001}   # of each member, with the settings of `aiida-goectp train`

# seed: 0
# max_concurrent: 4                         # maximum number of concurrent DFPT calculations
# max_trainings: 5                          # maximum number of concurrent trainings; 1 on a machine without scheduler
# overrides: {}                             # of predict and train, nested as in the protocol
"""
