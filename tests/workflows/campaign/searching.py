"""A small campaign: a pool of rock salts, labels computed from the volume, DFPT results in a table."""

import io

import numpy as np
from aiida import orm

from aiida_goectp.calculations.datasets import import_dataset
from aiida_goectp.calculations.structures import import_structures
from aiida_goectp.core.crystals import Crystal, CrystalSet
from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain
from tests.workflows.campaign.campaign import answer
from tests.workflows.dfpt.table_engine import NAME
from tests.workflows.test_train import NETWORK, ONE_CORE

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
CATIONS, ANIONS = (3, 11, 19, 37, 55, 12, 20, 38, 56), (8, 9, 16, 17, 34, 35)
OPTIONS = {
    'resources': ONE_CORE,
    'environment_variables': {'OMP_NUM_THREADS': '1'},
}  # threads would compete for the cores
TRAINING = {**NETWORK, 'batch_size': 16, 'epochs': 2, 'layer_augmentation_copies': 0}


def crystals(places, prefix='p'):
    """Return rock salts of two elements; each place has its own formula."""
    rows = []
    for place in places:
        edge = 4.0 + 0.05 * (place * 7 % 40)
        numbers = np.array([CATIONS[place % 9], ANIONS[place // 9 % 6]], np.int16)
        rows.append(Crystal(f'{prefix}{place}', FCC * edge, numbers, np.array([[0, 0, 0], [0.5] * 3])))
    gaps = np.array([1.0 + place % 5 for place in places])
    return CrystalSet.from_crystals(rows, {'band_gap': gaps})


def epsilon(crystal):
    """Return ε_∞ of a crystal, which decreases with its volume."""
    return 1 + 30 / (abs(np.linalg.det(crystal.lattice)) / 2)


def file_of(table, name):
    stream = io.BytesIO()
    table.save(stream)
    return orm.SinglefileData(io.BytesIO(stream.getvalue()), filename=name).store()


def start_dataset(places=range(0, 54, 2)):
    """Import a starting dataset with all elements of the pool and none of its formulas."""
    table = crystals(places, 's')
    electronic = np.array([epsilon(crystal) * np.eye(3) for crystal in table])
    names = np.array(['PBE'] * len(table))
    return import_dataset(file_of(Dataset(table, electronic, 0.5 * electronic, functional=names), 'start.npz'))


def table_of(pool):
    """Return the DFPT results of a pool by content hash."""
    rows = pool.crystals
    return {str(name): answer((epsilon(crystal),) * 3, 2) for name, crystal in zip(rows.hashes, rows, strict=True)}


def some_pool(count=12):
    """Import a pool of crystals."""
    return import_structures(file_0=file_of(crystals(range(1, 2 * count, 2)), 'pool.npz'))


def campaign(code, model=None, table=None, pool=None, dataset=None, retrain=True, dfpt=None, overrides=None, **nodes):
    """Return the builder of a campaign of two rounds with two picks, and a committee of two with two epochs."""
    pool = pool or some_pool()
    dfpt = {'table': orm.Dict(table_of(pool) if table is None else table), **(dfpt or {})}
    given = overrides or {}
    changes = {
        'picking': {'batch_size': 2, **given.pop('picking', {})},
        'stop_rules': {'max_rounds': 2, **given.pop('stop_rules', {})},
        'retraining': {'folds': 2, **given.pop('retraining', {})},
        'max_trainings': 2,
        'predict': {'goectp': {'device': 'cpu'}},
        'train': {
            'goectp': {
                'settings': {**TRAINING, **given.pop('settings', {})},
                'device': 'cpu',
                'monitors': {'training': None},
            },
            'max_iterations': 1,
        },
        **given,
    }
    builder = ActiveLearningWorkChain.get_builder_from_protocol(
        code, pool, dataset or start_dataset(), NAME, dfpt, model, 'fast', changes, OPTIONS, **nodes
    )
    if not retrain:
        del builder['train']
    return builder


def walk(node):
    """Return the ancestors of a node without a creator."""
    found, waiting, seen = {}, [node], set()
    while waiting:
        item = waiting.pop()
        if item.uuid in seen:
            continue
        seen.add(item.uuid)
        if item.creator is None:
            found[item.uuid] = item
        else:
            waiting += item.creator.base.links.get_incoming(node_class=orm.Data).all_nodes()
    return list(found.values())
