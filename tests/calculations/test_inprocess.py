"""Prediction in the current process."""

import numpy as np
import pytest
from aiida import orm
from aiida.manage.caching import enable_caching

from aiida_goectp.calculations.inprocess import predict_crystals
from aiida_goectp.core.crystals.convert import to_ase
from aiida_goectp.data.crystals import structure_from_crystal
from aiida_goectp.data.model import to_model
from aiida_goectp.data.pymatgen_convert import to_pymatgen
from tests import tiny


def test_prediction_of_a_structure(model, crystal_set):
    structure = structure_from_crystal(crystal_set[3])
    predictions = predict_crystals(structure, model).predictions
    assert list(predictions.ids) == ['O3SrTi']
    # cubic: a multiple of the identity, in the frame of the structure
    np.testing.assert_allclose(predictions.total[0], np.eye(3) * predictions.total[0, 0, 0], atol=1e-4)


def test_provenance_and_cache(model, crystal_set, crystals):
    structure = structure_from_crystal(crystal_set[0]).store()
    node = predict_crystals(structure, model)
    inputs = {link.link_label: link.node.uuid for link in node.creator.base.links.get_incoming().all()}
    assert (inputs['crystals'], inputs['model']) == (structure.uuid, model.uuid)
    alone = node.predictions.total[0]
    np.testing.assert_allclose(predict_crystals(crystals, model).predictions.total[0], alone, rtol=1e-5, atol=1e-9)
    with enable_caching():
        again = predict_crystals(structure_from_crystal(crystal_set[0]), model)
    assert again.creator.base.caching.is_created_from_cache


def test_model_remains_loaded(model, crystals):
    from aiida_goectp.core.learning.model_cache import cached_model

    predict_crystals(crystals, model, orm.Str('cpu'))
    loaded = cached_model(model.content, 'cpu')
    predict_crystals(crystals, model, orm.Str('cpu'))
    assert cached_model(model.content, 'cpu') is loaded


def test_invalid_inputs_are_refused(model, crystals):
    with pytest.raises(TypeError, match='Int'):
        predict_crystals(orm.Int(1), model)
    slab = orm.StructureData(cell=np.eye(3).tolist(), pbc=(True, True, False))
    slab.append_atom(position=(0, 0, 0), symbols='Si')
    with pytest.raises(ValueError, match='2 directions'):
        predict_crystals(slab, model)
    with pytest.raises(ValueError, match='cuda:9'):
        predict_crystals(crystals, model, orm.Str('cuda:9'))


def test_values_that_are_no_crystals_are_named(model, crystal_set):
    slab = to_ase(crystal_set[0])
    slab.pbc = (True, True, False)
    with pytest.warns(UserWarning, match='slab: pbc'):
        node = predict_crystals({'slab': slab, 'MgO': to_ase(crystal_set[1])}, model)
    assert node.predictions.ids.tolist() == ['MgO']
    assert [failure.id for failure in node.creator.inputs.crystals.crystals.failures] == ['slab']


def test_phonons_of_a_model_without_them_start_nothing(crystals, tmp_path):
    model = tiny.write_model(tmp_path / 'tiny.safetensors')
    before = orm.QueryBuilder().append(orm.CalcFunctionNode).count()
    with pytest.raises(ValueError, match='force_constants'):
        predict_crystals(crystals, model, phonons=True)
    assert orm.QueryBuilder().append(orm.CalcFunctionNode).count() == before


def test_structures_of_any_library_give_equal_predictions(crystal_set, model):
    values = [structure_from_crystal(crystal_set[1]), to_ase(crystal_set[1]), to_pymatgen(crystal_set[1])]
    name = model.card.name
    frames = [predict_crystals(value, name).to_dataframe(components=True) for value in (*values, values)]
    assert [frame.index.tolist() for frame in frames] == [['MgO']] * 3 + [['MgO', 'MgO#2', 'MgO#3']]
    assert {formula for frame in frames for formula in frame['formula']} == {'MgO'}
    columns = ['electronic', 'ionic', 'total', 'total_std', 'total_xx']
    for frame in frames[1:]:
        for row in range(len(frame)):
            np.testing.assert_allclose(frame[columns].iloc[row], frames[0][columns].iloc[0], rtol=2e-4)


def test_model_is_a_node_a_file_or_a_shipped_name(model, crystals, tmp_path):
    path = tmp_path / 'copy.safetensors'
    path.write_bytes(model.content)
    nodes = [to_model(value) for value in (model, path, str(path), model.card.name)]
    assert {node.pk for node in nodes} == {model.pk}
    with pytest.raises(TypeError):
        predict_crystals(crystals, 1)
    with pytest.raises(ValueError, match='goectp-tiny'):
        predict_crystals(crystals, 'goectp-tiny')
