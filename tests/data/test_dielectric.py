"""The dielectric node."""

import numpy as np
import pytest
from aiida.common.exceptions import ValidationError
from aiida.orm import load_node

from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.data.dielectric import DielectricData

pytestmark = pytest.mark.usefixtures('aiida_profile')


@pytest.fixture
def response(crystal_set):
    return DielectricResponse(
        crystal_set[1], 3.2 * np.eye(3), 7 * np.eye(3), band_gap=4.5, engine='vasp', functional='PBEsol'
    )


def test_round_trip(response):
    node = load_node(DielectricData(response).store().pk)
    np.testing.assert_allclose(node.dielectric.total, 10.2 * np.eye(3))
    attributes = node.base.attributes.all
    assert (attributes['formula'], attributes['atoms'], attributes['engine']) == ('MgO', 2, 'vasp')
    assert attributes['total'] == pytest.approx(10.2)
    assert attributes['band_gap'] == 4.5
    assert len(node) == 1
    assert node.content_hash == response.content_hash
    structure = node.structure()
    assert structure.get_formula() == 'MgO'
    np.testing.assert_allclose(structure.cell, response.crystal.lattice)


def test_unknown_values_have_no_attribute(response):
    node = DielectricData(DielectricResponse(response.crystal, 3.2 * np.eye(3))).store()
    assert not {'ionic', 'total', 'band_gap'} & set(node.base.attributes.keys())


def test_a_node_from_the_cache_can_be_stored(response):
    # AiiDA rounds the attributes that it stores, and caching copies them
    long = DielectricResponse(response.crystal, np.pi * np.eye(3), 2 / 3 * np.eye(3), band_gap=1 / 7)
    first = DielectricData(long).store()
    assert load_node(first.pk).clone().store().content_hash == first.content_hash


def test_equal_responses_have_one_caching_hash(response):
    first, second = DielectricData(response).store(), DielectricData(response).store()
    assert first.base.caching.get_hash() == second.base.caching.get_hash()
    turned = DielectricData(response.rotated(np.diag([1.0, -1.0, -1.0]))).store()
    assert turned.base.caching.get_hash() != first.base.caching.get_hash()


def test_attributes_of_another_response_are_refused(response):
    node = DielectricData(response)
    node.base.attributes.set('band_gap', 9.9)
    with pytest.raises(ValidationError, match="'band_gap'"):
        node.store()
