"""Dynamical matrix of ph.x in XML format, compared with the text format of the same run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from aiida_goectp.core.dielectric.phonons import parse_dynamical_matrix
from aiida_goectp.core.dielectric.phonons_xml import parse_matrix_xml
from aiida_goectp.core.formats.errors import FormatError
from tests.damaged import damaged

FILES = Path(__file__).parents[2] / 'data' / 'phx' / 'triclinic'
XML = (FILES / 'dynamical-matrix.xml').read_text()


def test_both_formats_contain_the_same_numbers():
    """The crystal has no symmetry, so that the order of all indices matters."""
    text, xml = parse_dynamical_matrix((FILES / 'dynamical-matrix-1').read_text()), parse_matrix_xml(XML)
    for name in text._fields:
        assert getattr(xml, name) == pytest.approx(getattr(text, name), rel=1e-7, abs=2e-8), name
    block = xml.force_constants[:3, 3:]
    assert np.abs(block - block.T).max() > 1e-5
    assert np.abs(xml.born_charges[0] - xml.born_charges[0].T).max() > 1e-2


def test_response_that_was_not_computed_is_none():
    head, rest = XML.split('  <DIELECTRIC_PROPERTIES')
    found = parse_matrix_xml(head + rest.split('</DIELECTRIC_PROPERTIES>')[1])
    assert (found.electronic, found.born_charges) == (None, None)


@pytest.mark.parametrize(
    ('old', 'new', 'found'),
    [
        ('<Root>', '<!DOCTYPE x [<!ENTITY a "b">]><Root>', 'entities'),
        ('</Root>', '', 'no element|line'),
        ('<Q_POINT>\n   0.0', '<Q_POINT>\n   0.5', 'Γ'),
        ('ATOMS>2<', 'ATOMS>99999999<', 'atoms'),
        ('ATOMS>2<', 'ATOMS>3<', r'ATOM\.3'),
        ('PHI.1.2>', 'PHI.1.3>', r'PHI\.1\.2'),
        ('MASS.1>24.3', 'MASS.1>-24.3', 'mass'),
        ('5.758313961706000E+00', '1e400', 'finite'),
        ('5.758313961706000E+00', '0.000000000000000E+00', 'no cell'),
    ],
)
def test_invalid_files_are_refused(old, new, found):
    assert old in XML
    with pytest.raises(FormatError, match=f'dynamical matrix: .*(?:{found})'):
        parse_matrix_xml(XML.replace(old, new))


@given(damaged(XML))
@settings(max_examples=60)
def test_any_damage_is_refused_or_gives_finite_numbers(text):
    try:
        matrix = parse_matrix_xml(text)
    except FormatError:
        return
    assert all(value is None or np.isfinite(value).all() for value in matrix)
