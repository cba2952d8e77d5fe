"""The metrics stand on the ground floor, in :mod:`aiida_goectp.metrics`."""

from aiida_goectp.metrics import compare, table

__all__ = ('compare', 'table')
