"""Screens as a report reads them: real data nodes, linked to the node of a process that did not run."""

import json
import re

import numpy as np
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

from aiida_goectp.calculations.rank import rank_crystals
from aiida_goectp.calculations.select import select_top
from aiida_goectp.data.crystals import CrystalsData
from aiida_goectp.data.model import ModelData
from aiida_goectp.data.predictions import PredictionsData


def data_of(html):
    """Return the data in a page."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL).group(1))


def stored_screen(crystal_set, table, model_file, merit='gap_total', number=3, filters=None):
    """Return the node of a screen.

    :param table: predictions of the crystals
    """
    crystals, predictions = CrystalsData(crystal_set).store(), PredictionsData(table).store()
    inputs = {
        'crystals': crystals,
        'model': ModelData.get_or_create(model_file),
        'figure_of_merit': orm.Str(merit),
        'number': orm.Int(number),
        'keep_duplicates': orm.Bool(True),
        **({} if filters is None else {'filters': orm.Dict(filters)}),
    }
    names = ('figure_of_merit', 'keep_duplicates', 'filters')
    settings = {name: inputs[name] for name in names if name in inputs}
    ranking = rank_crystals(crystals, predictions, **settings)
    chosen = select_top(ranking, crystals, inputs['number'])
    node = orm.WorkChainNode(process_type='aiida.workflows:goectp.screen', label='tried')
    node.set_process_label('ScreenWorkChain')
    for name, value in inputs.items():
        node.base.links.add_incoming(value.store(), LinkType.INPUT_WORK, name)
    node.store()
    for name, value in {'predictions': predictions, 'ranking': ranking, 'selection': chosen['selection']}.items():
        value.base.links.add_incoming(node, LinkType.RETURN, name)
    node.set_process_state(ProcessState.FINISHED)
    node.set_exit_status(0)
    node.seal()
    return node


def uncertain(table, share=0.1):
    """Return predictions with standard deviations that are a share of the tensors."""
    from dataclasses import replace

    deviations = {f'{part}_std': share * getattr(table, part) for part in ('electronic', 'ionic', 'total')}
    averages = np.stack([np.trace(value, axis1=1, axis2=2) / 3 for value in deviations.values()], axis=1)
    return replace(table, **deviations, average_std=averages)
