"""A configuration to begin with: commented, and valid as it stands."""

from __future__ import annotations

__all__ = ('TEMPLATE',)

TEMPLATE = """\
# A campaign: aiida-goectp campaign start THIS_FILE --dry-run
# Paths begin in the folder of this file. Whatever is left out is as the protocol has it; lines that begin with «#»
# show what there is.

label: my first campaign

# The crystals to search in: PK, UUID or label of a node (aiida-goectp import), or files and folders.
pool:
  source: structures
  # properties: structures/properties.csv   # columns by id, e.g. band_gap

# Labels that are known beforehand: a node (aiida-goectp dataset), a dataset.npz or labelled JSON lines.
dataset:
  source: labels.jsonl
  # functional: PBEsol                      # of rows that do not say
  # split_file: splits.json
# split: random-0                           # its validation calibrates, its test is the hold-out; made if not given

# The model to begin with: node, shipped name or file. Without it, one is trained on the dataset first, anew each time.
model: goectp
# predictions: 1234                         # of the pool by that model, if there are some already
# labels: 1235                              # a dataset of labels of your own, as if of earlier rounds

# DFPT, as `aiida-goectp verify` takes it.
engine: quantumespresso                     # or vasp, or the entry point of another engine
dfpt:
  protocol: balanced                        # fast, balanced, stringent
  # codes: {pw: pw@cluster, ph: ph@cluster} # ROLE@localhost if not given
  # potentials: PseudoDojo/0.4/PBEsol/SR/standard/upf
  # relax: true
  # electronic_only: false
  # processes: 16
  # queue: normal
  # account: project
  # wall_time: 43200                        # s
  # options: {}                             # further options of each job
  # overrides: {}                           # over the protocol of the engine
  # arguments: {}                           # any other argument of the engine
# thresholds: {residual_forces: 0.02}       # of gates; off for none
# reuse: true                               # take over what was computed before

# Predictions and trainings.
protocol: balanced                          # fast, balanced, stringent
# code: goectp@cluster                      # goectp@localhost if not given
# device: auto                              # cpu, cuda, cuda:1
# gpus: 1                                   # to ask the scheduler for, each job
# options: {queue_name: gpu}                # of each job

# What is looked for, and how a batch is picked.
picking:
  batch_size: 20                            # calculations in a round
  figure_of_merit: total                    # total, electronic, gap_total, refractive_index, …
  # filters: {min_gap: 1.0, max_hull: 0.05, max_atoms: 20, elements_none: [Pb, Cd]}
  # acquisition: {name: greedy}             # upper_confidence_bound, expected_improvement, exploration, pareto, …
  # diversity: {structures: true, copies: true}

# The first rule that fires ends the campaign.
stop_rules:
  max_rounds: 10
  # max_calculations: 200
  # max_core_hours: 1000
  # calibrated_error: {error: 0.1, coverage: 0.8, rounds: 2}
  # stable_top: {k: 10, rounds: 3}
  # threshold: {value: 50.0, kappa: 1.0}

# When to retrain, how, and what a new model must prove; folds is the size of the committee.
retraining:
  every_rounds: 1
  # mode: fine-tune                         # or scratch, which it is without a model
  # every_labels: 40
  # scratch_every: 5
  # folds: 5
# training: {epochs: 60, learning_rate: 0.001}   # of each member, as `aiida-goectp train` takes it

# seed: 0
# max_concurrent: 4                         # DFPT calculations at the same time
# max_trainings: 5                          # members in training at the same time; 1 on a machine without a queue
# overrides: {}                             # of predict and train, nested as in the protocol
"""
