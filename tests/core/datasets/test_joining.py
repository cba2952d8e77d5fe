"""Joining of datasets: duplicates, labels in the frame of the kept row, and the report."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from aiida_goectp.core.datasets.dataset import Dataset
from aiida_goectp.core.datasets.joining import join_datasets
from aiida_goectp.core.datasets.splits import reduced_formulas
from aiida_goectp.core.dielectric.gamma_modes import to_blocks
from aiida_goectp.core.formats.errors import FormatError
from tests import tiny
from tests.core.datasets.equivalent_crystals import dataset, equivalent_crystal, low_symmetry, rotation, rutile
from tests.rows import PETOUSIS, PHONONDB

ELECTRONIC = np.array([[5.0, 0.3, -0.2], [0.3, 6.0, 0.4], [-0.2, 0.4, 8.0]])
IONIC = np.array([[9.0, -1.0, 0.5], [-1.0, 12.0, 0.7], [0.5, 0.7, 20.0]])
SHEARED = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]])


def test_missing_labels_are_taken_from_duplicates():
    crystal, turn = low_symmetry('first'), rotation(3)
    other, _ = equivalent_crystal(crystal._replace(id='second'), turn, SHEARED)
    kept = dataset((crystal, ELECTRONIC, None), origin=np.array(['a.npz']))
    donor = dataset((other, turn @ ELECTRONIC @ turn.T, turn @ IONIC @ turn.T), origin=np.array(['b.npz']))
    joined, report = join_datasets([kept, donor])
    assert joined.crystals.ids.tolist() == ['first']
    np.testing.assert_array_equal(joined.crystals.lattices[0], crystal.lattice)
    np.testing.assert_array_equal(joined.electronic[0], ELECTRONIC)
    np.testing.assert_allclose(joined.ionic[0], IONIC, atol=1e-5)
    assert joined.origin.tolist() == ['a.npz; ionic: b.npz']
    names = {'kept': {'part': 0, 'row': 0, 'id': 'first'}, 'other': {'part': 1, 'row': 0, 'id': 'second'}}
    assert report['filled'] == [{**names, 'target': 'ionic'}]
    assert [{key: entry[key] for key in names} for entry in report['duplicates']] == [names]
    assert report['disagreements'] == []
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize('supercell', [SHEARED, np.diag([2, 1, 1])], ids=['cell', 'supercell'])
def test_born_charges_follow_their_atoms(supercell):
    crystal, turn = low_symmetry(), rotation(4, mirrored=True)
    charges = np.random.default_rng(1).normal(size=(4, 3, 3))  # not symmetric: field and displacement must not swap
    other, atoms = equivalent_crystal(crystal, turn, supercell, seed=5)
    donor = dataset((other, turn @ ELECTRONIC @ turn.T, None), born_charges=turn @ charges[atoms] @ turn.T)
    joined, report = join_datasets([dataset((crystal, ELECTRONIC, None)), donor])
    np.testing.assert_allclose(joined.born_charges, charges, atol=1e-5)
    # and from the small cell to the large one
    kept, given = (
        dataset((other, turn @ ELECTRONIC @ turn.T, None)),
        dataset((crystal, ELECTRONIC, None), born_charges=charges),
    )
    joined, _ = join_datasets([kept, given])
    np.testing.assert_allclose(joined.born_charges, turn @ charges[atoms] @ turn.T, atol=1e-5)
    assert [entry['target'] for entry in report['filled']] == ['born_charges']


def test_disagreements_are_reported_and_the_first_label_is_kept():
    turn = rotation(7)
    other, _ = equivalent_crystal(rutile(name='again'), turn, SHEARED)
    labels = np.diag([6.0, 6.0, 8.0])
    wrong = turn @ np.diag([8.0, 8.0, 6.0]) @ turn.T
    joined, report = join_datasets(
        [dataset((rutile(), labels, labels)), dataset((other, wrong, turn @ labels @ turn.T))]
    )
    (entry,) = report['disagreements']
    assert (entry['kept']['id'], entry['other']['id'], entry['target']) == ('rutile', 'again', 'electronic')
    np.testing.assert_allclose(entry['value'], labels)
    np.testing.assert_allclose(entry['other_value'], np.diag([8.0, 8.0, 6.0]), atol=1e-5)
    assert entry['difference'] == pytest.approx(np.sqrt(12 / 136), rel=1e-4)
    assert (entry['average'], entry['other_average']) == (pytest.approx(20 / 3), pytest.approx(22 / 3))
    np.testing.assert_array_equal(joined.electronic[0], labels)
    _, report = join_datasets([dataset((rutile(), labels, labels)), dataset((other, wrong, None))], tolerance=0.5)
    assert report['disagreements'] == []


def test_refused_rows_are_replaced_and_give_no_labels():
    labels = np.diag([6.0, 6.0, 8.0])
    refused = dataset((rutile(name='bad'), labels * 9, labels * 9), failed_gates=np.array(['insulating']))
    good = dataset((rutile(name='good'), labels, None))
    for parts in ([refused, good], [good, refused]):
        joined, report = join_datasets(parts)
        assert joined.crystals.ids.tolist() == ['good']
        np.testing.assert_array_equal(joined.electronic[0], labels)
        assert np.isnan(joined.ionic).all()
        assert joined.trainable.all()
        assert report['duplicates'][0]['refused'] == 'insulating'
        assert report['filled'] == report['disagreements'] == []
    # a refused row without a better duplicate is kept
    joined, _ = join_datasets([refused, refused])
    assert (len(joined), joined.failed_gates.tolist(), joined.trainable.tolist()) == (1, ['insulating'], [False])


def test_a_failed_ionic_label_is_replaced():
    labels = np.diag([6.0, 6.0, 8.0])
    first = dataset((rutile(), labels, None), failed_gates=np.array(['no_imaginary_mode']))
    joined, _ = join_datasets([first, dataset((rutile(c=2.97), labels, labels * 3))])
    np.testing.assert_allclose(joined.ionic[0], labels * 3, atol=1e-6)
    assert joined.failed_gates.tolist() == ['']


def lattice_labels(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return neutral Born charges and force constants (blocks) of :func:`low_symmetry`, whose acoustic sums vanish."""
    random = np.random.default_rng(seed)
    charges, matrix = random.normal(size=(4, 3, 3)), random.normal(size=(12, 12))
    blocks = to_blocks(matrix @ matrix.T).reshape(4, 4, 3, 3)
    blocks[np.arange(4), np.arange(4)] -= blocks.sum(axis=1)
    return charges - charges.mean(axis=0), blocks.reshape(16, 3, 3).astype(np.float32)


@pytest.mark.parametrize('failed', ['neutral_born_charges', 'neutral_born_charges, ionic_point_group'])
def test_refused_charges_and_force_constants_do_not_become_labels(failed):
    crystal, (charges, constants) = low_symmetry(), lattice_labels(1)
    columns = {'born_charges': charges + 0.4 * np.eye(3), 'force_constants': 9 * constants}
    first = dataset((crystal, ELECTRONIC, None), failed_gates=np.array([failed]), **columns)
    # by the tensor of a duplicate without charges and force constants
    joined, _ = join_datasets([first, dataset((crystal, ELECTRONIC, IONIC))])
    assert joined.failed_gates.tolist() == ['']
    assert np.isnan(joined.born_charges).all()
    assert joined.has_force_constants.tolist() == [failed == 'neutral_born_charges']  # which concerns the charges only
    # by those of a duplicate
    other = dataset((crystal, ELECTRONIC, IONIC), born_charges=charges, force_constants=constants)
    joined, report = join_datasets([first, other])
    np.testing.assert_allclose(joined.born_charges, charges)
    assert joined.failed_gates.tolist() == ['']
    refused = 'ionic_point_group' in failed
    np.testing.assert_allclose(joined.force_constants, constants if refused else 9 * constants)
    filled = ['ionic', 'born_charges', 'force_constants'][: 2 + refused]
    assert [entry['target'] for entry in report['filled']] == filled
    # and in the other direction
    joined, report = join_datasets([dataset((crystal, ELECTRONIC, None)), first])
    assert joined.failed_gates.tolist() == ['']
    assert np.isnan(joined.born_charges).all()
    assert joined.has_force_constants.tolist() == [not refused]


@pytest.mark.parametrize('supercell', [SHEARED, np.diag([2, 1, 1])], ids=['cell', 'supercell'])
def test_force_constants_follow_their_atoms(supercell):
    crystal, turn, (charges, constants) = low_symmetry(), rotation(4, mirrored=True), lattice_labels(2)
    other, atoms = equivalent_crystal(crystal, turn, supercell, seed=5)
    cells = len(atoms) // 4
    # the same for each image of the second atom, so that their sum is that of the primitive cell
    blocks = constants.reshape(4, 4, 3, 3)[np.ix_(atoms, atoms)].reshape(-1, 3, 3) / cells
    turned = {'born_charges': turn @ charges[atoms] @ turn.T, 'force_constants': turn @ blocks @ turn.T}
    rotated = turn @ ELECTRONIC @ turn.T
    joined, report = join_datasets([dataset((crystal, ELECTRONIC, None)), dataset((other, rotated, None), **turned)])
    np.testing.assert_allclose(joined.force_constants, constants, atol=1e-3)
    assert [entry['target'] for entry in report['filled']] == ['born_charges', 'force_constants']
    # those at Γ of a supercell do not follow from the primitive cell
    given = dataset((crystal, ELECTRONIC, None), born_charges=charges, force_constants=constants)
    joined, report = join_datasets([dataset((other, rotated, None)), given])
    assert joined.has_force_constants.tolist() == [cells == 1]
    assert [(entry['target'], entry['reason']) for entry in report['not_filled']] == (
        [] if cells == 1 else [('force_constants', 'other_cell')]
    )


@pytest.mark.parametrize('functional', ['unknown', 'unnamed (luse_vdw)'])
def test_rows_of_unknown_functional_do_not_complete_each_other(functional):
    crystal = low_symmetry()
    parts = [
        dataset((crystal, ELECTRONIC, part), functional=functional, origin=np.array([name]))
        for name, part in (('a.jsonl', None), ('b.jsonl', IONIC))
    ]
    joined, report = join_datasets(parts)
    assert len(joined) == 1
    assert np.isnan(joined.ionic).all()
    assert [(entry['target'], entry['reason']) for entry in report['not_filled']] == [('ionic', 'unknown_functional')]
    same = [replace(part, origin=np.array(['a.jsonl'])) for part in parts]
    np.testing.assert_allclose(join_datasets(same)[0].ionic[0], IONIC)


def test_functionals_and_polymorphs_are_distinct():
    labels = np.eye(3) * 5
    squeezed = rutile(c=2.6, name='squeezed')
    parts = [
        dataset((rutile(), labels, None)),
        dataset((rutile(), labels, labels), (squeezed, labels, None), functional='PBE'),
    ]
    joined, report = join_datasets(parts)
    assert joined.crystals.ids.tolist() == ['rutile', 'rutile#2', 'squeezed']
    assert report['functionals'] == {'PBE': 2, 'PBEsol': 1}
    assert np.isnan(joined.ionic[0]).all()
    assert report['duplicates'] == []


def test_properties_and_ids_are_kept():
    one = tiny.some_dataset(9)
    gap = replace(one, crystals=replace(one.crystals, properties={'band_gap': np.arange(9.0)}))
    other = tiny.some_dataset(6, seed=5)
    text = replace(other, crystals=replace(other.crystals, properties={'note': np.array(list('abcdef'))}))
    joined, report = join_datasets([gap, text])
    assert len(joined) == report['rows'] == 15 - len(report['duplicates'])
    assert report['rows_given'] == [9, 6]
    first = np.isin(joined.crystals.hashes, one.crystals.hashes)
    found = {key: joined.crystals.properties[key][first].tolist() for key in ('band_gap', 'note')}
    assert found['band_gap'] == [float(name[1:]) for name in joined.crystals.ids[first]]
    assert np.isnan(joined.crystals.properties['band_gap'][~first]).all()
    assert set(found['note']) == {''}
    assert len(set(joined.crystals.ids.tolist())) == len(joined)
    again, report = join_datasets([joined, joined])
    assert again.crystals.hashes.tolist() == joined.crystals.hashes.tolist()
    assert again.crystals.ids.tolist() == joined.crystals.ids.tolist()
    assert len(report['duplicates']) == len(joined)


def test_splits_are_kept_and_extended():
    old = tiny.some_dataset(20).with_split('mine', seed=1).with_split('by formula', 'formula', seed=1)
    new = tiny.some_dataset(8, seed=9)
    plain, _ = join_datasets([old, new])
    kept = np.isin(plain.crystals.hashes, old.crystals.hashes)
    assert (plain.splits['mine'][~kept] == '').all()
    assert (
        plain.splits['mine'][kept].tolist()
        == old.splits['mine'][np.isin(old.crystals.hashes, plain.crystals.hashes)].tolist()
    )
    joined, _ = join_datasets([old, new], newcomers='train')
    assert (joined.splits['mine'][~kept] == 'train').all()
    assert (joined.part('mine', 'test').crystals.hashes == plain.part('mine', 'test').crystals.hashes).all()
    for again in (joined, join_datasets([joined, tiny.some_dataset(8, seed=11)], newcomers='train')[0]):
        formulas = {part: set(reduced_formulas(again.part('by formula', part).crystals)) for part in ('train', 'test')}
        assert not formulas['train'] & formulas['test']
    assert joined.split_settings['mine']['kind'] == 'joined'
    assert joined.split_settings['mine']['of'][0]['seed'] == 1


@pytest.mark.parametrize(
    ('arguments', 'name'),
    [({'parts': []}, 'dataset'), ({'tolerance': 0.0}, 'tolerance'), ({'newcomers': 'everything'}, "'everything'")],
)
def test_invalid_arguments_are_refused(arguments, name):
    with pytest.raises(FormatError, match=name):
        join_datasets(**{'parts': [tiny.some_dataset(2)], **arguments})


def test_two_published_tables():
    """Rows of one compound are distinct for two functionals, and duplicates for one, whatever their cells."""
    one, other = (Dataset.load(path) for path in (PHONONDB, PETOUSIS))
    _, distinct = join_datasets(
        [replace(one, functional=np.full(len(one), 'PBEsol')), replace(other, functional=np.full(len(other), 'PBE'))]
    )
    _, joined = join_datasets([one, other])
    between = [e for e in joined['duplicates'] if e['kept']['part'] != e['other']['part']]
    assert not [e for e in distinct['duplicates'] if e['kept']['part'] != e['other']['part']]
    common = set(one.crystals.ids.tolist()) & set(other.crystals.ids.tolist())
    # the other cells differ by 2 to 6 % between the functionals
    assert len(common & {entry['other']['id'] for entry in between}) == 21
    assert len(common) == 34
