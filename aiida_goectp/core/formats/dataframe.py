"""Tables as pandas data frames, for notebooks; pandas is imported when a table is converted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_goectp.core.formats.names import renamed_properties

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ('COMPONENTS', 'component_columns', 'make_frame')

COMPONENTS = {'xx': (0, 0), 'yy': (1, 1), 'zz': (2, 2), 'yz': (1, 2), 'xz': (0, 2), 'xy': (0, 1)}
"""independent components of a symmetric tensor, in the order of Voigt"""


def component_columns(name: str, tensors: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns ``NAME_xx``, ``NAME_yy``, …, of symmetric tensors.

    :param tensors: (n, 3, 3)
    """
    return {f'{name}_{axes}': tensors[:, first, second] for axes, (first, second) in COMPONENTS.items()}


def make_frame(ids: np.ndarray, columns: Mapping[str, Any], properties: Mapping[str, Any] | None = None) -> DataFrame:
    """Return a data frame with the index ``id``.

    :param ids: (n,)
    :param columns: name → n values
    :param properties: further columns; one with the name of another column, or ``id``, is called
        ``property_NAME``
    :raises ImportError: pandas is not installed
    """
    try:
        from pandas import DataFrame, Index
    except ImportError as error:
        raise ImportError('data frames need pandas: pip install pandas') from error

    further = renamed_properties(properties or {}, {'id', *columns})
    values = {name: value.tolist() if _is_text(value) else value for name, value in {**columns, **further}.items()}
    return DataFrame(values, index=Index(ids.tolist(), name='id', dtype=object))


def _is_text(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == 'U'
