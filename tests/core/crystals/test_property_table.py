"""Property columns from CSV tables."""

import numpy as np
import pytest

from aiida_goectp.core.crystals.property_table import add_columns
from aiida_goectp.core.formats.npz import FormatError


def test_columns_are_matched_by_id(crystal_set):
    table = b'\xef\xbb\xbfid,price,colour\n# a remark\nMgO, 2.5 ,white\nbroken.cif,9,\nSi,1,grey\n'
    joined = add_columns(crystal_set, 'table.csv', table)
    np.testing.assert_array_equal(joined.properties['price'], [1, 2.5, np.nan, np.nan, np.nan, np.nan])
    assert list(joined.properties['colour']) == ['grey', 'white', '', '', '', '']
    assert set(joined.properties) == {'band_gap', 'e_above_hull', 'price', 'colour'}
    assert list(joined.hashes) == list(crystal_set.hashes)
    assert joined.failures == crystal_set.failures


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        (b'', 'id'),
        (b'name,gap\nSi,1\n', 'id'),
        (b'id\nSi\n', 'id'),
        (b'id,gap,gap\nSi,1,2\n', 'gap, gap'),
        (b'id,gap\nSi,1,2\n', 'row 2'),
        (b'id,gap\nSi,1\nSi,2\n', "'Si'"),
        (b'id,gap\nSilicon,1\n', 'Silicon'),
        (b'id,band_gap\nSi,1\n', "'band_gap'"),
        (b'\xff\xfe\x00', 'UTF-8'),
    ],
)
def test_invalid_tables_are_refused(crystal_set, content, named):
    with pytest.raises(FormatError, match=rf't\.csv: .*{named}'):
        add_columns(crystal_set, 't.csv', content)
