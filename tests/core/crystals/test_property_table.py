"""Property columns from CSV tables."""

import numpy as np
import pytest

from aiida_goectp.core.crystals.property_table import add_columns
from aiida_goectp.core.formats.npz import FormatError


def test_columns_are_joined_by_id(crystal_set):
    table = b'\xef\xbb\xbfid,price,colour\n# a remark\nMgO, 2.5 ,white\nbroken.cif,9,\nSi,1,grey\n'
    joined = add_columns(crystal_set, 'table.csv', table)
    np.testing.assert_array_equal(joined.properties['price'], [1, 2.5, np.nan, np.nan, np.nan, np.nan])
    assert list(joined.properties['colour']) == ['grey', 'white', '', '', '', '']
    assert set(joined.properties) == {'band_gap', 'e_above_hull', 'price', 'colour'}
    assert list(joined.hashes) == list(crystal_set.hashes)
    assert joined.failures == crystal_set.failures


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', r't\.csv: the first line must name the columns'),
        (b'name,gap\nSi,1\n', r't\.csv: the first line must name the columns'),
        (b'id\nSi\n', r't\.csv: the first line must name the columns'),
        (b'id,gap,gap\nSi,1,2\n', r't\.csv: every column needs a name of its own'),
        (b'id,gap\nSi,1,2\n', r't\.csv: row 2 has 3 entries, the first line 2'),
        (b'id,gap\nSi,1\nSi,2\n', r't\.csv: the id Si stands twice'),
        (b'id,gap\nSilicon,1\n', r't\.csv: no crystal has the id Silicon; ids are file names'),
        (b'id,band_gap\nSi,1\n', r"t\.csv: the crystals have a column 'band_gap' already"),
        (b'\xff\xfe\x00', r't\.csv: not a CSV table in UTF-8'),
    ],
)
def test_what_does_not_fit_is_refused(crystal_set, content, message):
    with pytest.raises(FormatError, match=message):
        add_columns(crystal_set, 't.csv', content)
