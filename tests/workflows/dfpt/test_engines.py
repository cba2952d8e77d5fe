"""Inputs of an engine for a structure, and what its builder raises."""

import pytest
from aiida import orm
from aiida.common.exceptions import NotExistentKeyError

from aiida_goectp.workflows.dfpt.engines import engine_inputs, first_refusal
from aiida_goectp.workflows.failures import MissingResourceError
from tests.workflows.dfpt.quantumespresso.quantum_espresso import rocksalt
from tests.workflows.dfpt.table_engine import TableDfptWorkChain

RADII = {'Li': 0.76, 'F': 1.33}


class TabulatedEngine(TableDfptWorkChain):
    """Engine that looks elements up in a table."""

    @classmethod
    def get_builder_from_protocol(cls, structure, **arguments):
        sum(RADII[symbol] for symbol in structure.get_symbols_set())
        return super().get_builder_from_protocol(structure, **arguments)


class LostDatabaseEngine(TableDfptWorkChain):
    """Engine whose builder meets an error that is not about the structure."""

    @classmethod
    def get_builder_from_protocol(cls, structure, **arguments):
        raise arguments['error']


def test_a_structure_that_an_engine_was_not_written_for_is_refused(aiida_profile):
    known, unknown = rocksalt('Li', 'F', 4.0), rocksalt('Mg', 'O', 4.2)
    arguments = {'table': orm.Dict({})}
    assert engine_inputs(TabulatedEngine, known, arguments, None)['structure'] is known
    with pytest.raises(ValueError, match=r"TabulatedEngine.*KeyError: '(Mg|O)'"):
        engine_inputs(TabulatedEngine, unknown, arguments, None)
    assert first_refusal(TabulatedEngine, [('a', unknown), ('b', known)], arguments, None) is None
    assert 'KeyError' in first_refusal(TabulatedEngine, [('a', unknown)], arguments, None)


@pytest.mark.parametrize(
    ('error', 'raised'),
    [
        (NotExistentKeyError('no code'), MissingResourceError),
        (ConnectionError('database'), ConnectionError),  # says nothing about the structure
        (TypeError('unexpected argument'), ValueError),
    ],
)
def test_other_errors_of_a_builder(aiida_profile, error, raised):
    with pytest.raises(raised):
        engine_inputs(LostDatabaseEngine, rocksalt('Li', 'F', 4.0), {'error': error}, None)
