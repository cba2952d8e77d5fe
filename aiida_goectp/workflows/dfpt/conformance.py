"""Conformance checks for DFPT engines, to be called from the tests of the package that adds an engine.

Each function checks one part of the interface of :class:`~aiida_goectp.workflows.dfpt.base.DfptWorkChain` and raises
:class:`ConformanceError` at the first rule that is broken. They need a loaded AiiDA profile and no test framework::

    from aiida_goectp.workflows.dfpt.conformance import check_engine, check_failure


    def test_conformance(aiida_profile, code, structure):
        check_engine(MyDfptWorkChain, structure, {'code': code, 'protocol': 'fast'})


    def test_failure(aiida_profile, broken_code, structure):
        check_failure(MyDfptWorkChain, structure, {'code': broken_code, 'protocol': 'fast'})
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
from aiida import orm
from aiida.engine import run_get_node

from aiida_goectp.core.crystals import Crystal
from aiida_goectp.core.dielectric.response import DielectricResponse
from aiida_goectp.data.crystals import crystal_from_structure
from aiida_goectp.workflows.dfpt.base import DfptWorkChain
from aiida_goectp.workflows.dfpt.engines import engine_inputs
from aiida_goectp.workflows.dfpt.rotation import rotate_structure
from aiida_goectp.workflows.dfpt.same_inputs import same_settings

__all__ = (
    'ROTATION',
    'ConformanceError',
    'Rule',
    'check_builder',
    'check_engine',
    'check_failure',
    'check_interface',
    'check_refusals',
    'check_response',
)

ROTATION = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
"""Rotation of the second run of :func:`check_response`; it belongs to no crystallographic point group."""

_SAME_PLACE = 1e-3  # Å
_OWN_CODES = range(500, 600)


class Rule(str, Enum):
    """Rules of the interface."""

    INTERFACE = 'interface'
    """The class derives from ``DfptWorkChain``, implements its abstract methods, keeps its inputs and outputs."""
    EXIT_CODES = 'exit_codes'
    """Exit codes of ``DfptWorkChain`` are kept; those of the engine are 500 to 599."""
    PROTOCOLS = 'protocols'
    """An engine with protocols takes ``protocol`` and ``overrides``, and refuses an unknown protocol."""
    BUILDER = 'builder'
    """``get_builder_from_protocol(structure=…, …)`` returns complete, valid and reproducible inputs."""
    REFUSAL = 'refusal'
    """Invalid input raises ``ValueError`` before a process is created."""
    OUTPUTS = 'outputs'
    """A successful run has ``quality``, ``dielectric`` with both parts and, if relaxed, ``relaxed_structure``."""
    CELL = 'cell'
    """The response contains the cell that it was computed for, atoms in the order of the structure."""
    FRAME = 'frame'
    """The response is given in the Cartesian frame of its cell."""
    ELECTRONIC_ONLY = 'electronic_only'
    """With ``electronic_only`` there is no ionic part."""
    PROVENANCE = 'provenance'
    """The response is created by a calcfunction of the run, from the structure and from outputs of its processes."""
    CORE_HOURS = 'core_hours'
    """``core_hours`` counts the jobs of the run."""
    REUSE = 'reuse'
    """The run is found again by the inputs of the next run with the same settings."""
    CHECKPOINT = 'checkpoint'
    """The context can be written to the database between all steps."""
    FAILURE = 'failure'
    """A failed run ends with a declared exit code and without ``quality``."""


class ConformanceError(AssertionError):
    """An engine breaks a rule of the interface.

    :param rule: the rule
    :param message: what was found
    """

    def __init__(self, rule: Rule, message: str) -> None:
        super().__init__(f'{rule.value}: {message}')
        self.rule = rule


def _require(condition: bool, rule: Rule, message: str) -> None:
    if not condition:
        raise ConformanceError(rule, message)


def check_engine(
    engine: type[DfptWorkChain],
    structure: orm.StructureData,
    arguments: Mapping[str, Any],
    *,
    relax: bool = False,
    tolerance: float = 1e-3,
) -> orm.WorkChainNode:
    """Check everything but failures: :func:`check_interface` to :func:`check_response`, in this order.

    :param engine: the work chain
    :param structure: see :func:`check_response`
    :param arguments: see :func:`check_builder`
    :param relax: see :func:`check_response`
    :param tolerance: see :func:`check_response`
    :return: the first of the three runs
    :raises ConformanceError: a rule is broken
    :raises ValueError: see :func:`check_response`
    """
    check_interface(engine)
    check_refusals(engine)
    check_builder(engine, structure, arguments)
    return check_response(engine, structure, arguments, relax=relax, tolerance=tolerance)


def check_interface(engine: type[DfptWorkChain]) -> None:
    """Check class, inputs, outputs, exit codes and protocols; nothing is computed.

    :param engine: the work chain
    :raises ConformanceError: a rule is broken
    """
    _require(
        isinstance(engine, type) and issubclass(engine, DfptWorkChain), Rule.INTERFACE, 'is not a DfptWorkChain class'
    )
    missing = sorted(getattr(engine, '__abstractmethods__', ()))
    _require(not missing, Rule.INTERFACE, f'abstract methods are not implemented: {", ".join(missing)}')
    base, spec = DfptWorkChain.spec(), engine.spec()
    for kind, wanted, found in (('input', base.inputs, spec.inputs), ('output', base.outputs, spec.outputs)):
        for name, port in wanted.items():
            _require(name in found, Rule.INTERFACE, f'{kind} {name} is missing')
            same = (found[name].valid_type, found[name].required) == (port.valid_type, port.required)
            _require(same, Rule.INTERFACE, f'{kind} {name} has another type, or is required where it was not')
    for label, code in base.exit_codes.items():
        _require(spec.exit_codes.get(label) == code, Rule.EXIT_CODES, f'{label} ({code.status}) was changed')
    for label, code in spec.exit_codes.items():
        own = label not in base.exit_codes
        _require(not own or code.status in _OWN_CODES, Rule.EXIT_CODES, f'{label} ({code.status}) is not 500 to 599')
    factory = getattr(engine, 'get_builder_from_protocol', None)
    _require(callable(factory), Rule.BUILDER, 'get_builder_from_protocol is missing')
    parameters = inspect.signature(factory).parameters if factory is not None else {}
    _require('structure' in parameters, Rule.BUILDER, 'get_builder_from_protocol has no argument `structure`')
    if hasattr(engine, '_PROTOCOL_FILE'):
        for name in ('protocol', 'overrides'):
            _require(name in parameters, Rule.PROTOCOLS, f'get_builder_from_protocol has no argument `{name}`')
        default, available = engine.get_default_protocol(), engine.get_available_protocols()
        _require(default in available, Rule.PROTOCOLS, f'the default protocol {default!r} is not available')


def check_refusals(engine: type[DfptWorkChain]) -> None:
    """Check that inputs which no engine can compute are refused before a process is created.

    A slab, two atoms in one place, a partially occupied site, and a threshold for an unknown gate are tried.

    :param engine: the work chain
    :raises ConformanceError: one of them is accepted
    """
    cell = (np.eye(3) * 4).tolist()
    slab = orm.StructureData(cell=cell, pbc=(True, True, False))
    slab.append_atom(position=(0, 0, 0), symbols='Si')
    coincident = orm.StructureData(cell=cell)
    for height in (0.0, 0.1):
        coincident.append_atom(position=(0, 0, height), symbols='Si')
    disordered = orm.StructureData(cell=cell)
    disordered.append_atom(position=(0, 0, 0), symbols=('Si', 'Ge'), weights=(0.5, 0.5))
    cases: tuple[tuple[str, str, orm.Data], ...] = (
        ('a structure periodic in two directions', 'structure', slab),
        ('atoms at a distance of 0.1 Å', 'structure', coincident),
        ('a partially occupied site', 'structure', disordered),
        ('a threshold for an unknown gate', 'thresholds', orm.Dict({'not_a_gate': 1.0})),
    )
    for meaning, name, node in cases:
        port: Any = engine.spec().inputs[name]
        refused = port.validate(node) is not None
        _require(refused, Rule.REFUSAL, f'{meaning} is accepted as input {name}')


def check_builder(engine: type[DfptWorkChain], structure: orm.StructureData, arguments: Mapping[str, Any]) -> None:
    """Check ``get_builder_from_protocol``: complete, valid, reproducible inputs, for each protocol; errors by name.

    :param engine: the work chain
    :param structure: a structure that the engine can compute
    :param arguments: arguments of ``get_builder_from_protocol`` but the structure
    :raises ConformanceError: a rule is broken
    """
    choices: list[Mapping[str, Any]] = [arguments]
    if hasattr(engine, '_PROTOCOL_FILE'):
        choices += [{**arguments, 'protocol': name} for name in engine.get_available_protocols()]
        _check_raises(engine, structure, {**arguments, 'protocol': 'not-a-protocol'}, Rule.PROTOCOLS)
    for choice in choices:
        inputs = _inputs(engine, structure, choice)
        given = inputs.get('structure')
        same = given is not None and given.uuid == structure.uuid
        _require(same, Rule.BUILDER, 'the builder has another structure than was given')
        ports: Any = engine.spec().inputs
        problem = ports.validate(ports.pre_process(ports.serialize(dict(inputs))))
        _require(problem is None, Rule.BUILDER, f'the inputs are not valid: {problem}')
    _check_raises(engine, structure, {**arguments, 'not_an_argument': 1}, Rule.BUILDER)


def _inputs(engine: type[DfptWorkChain], structure: orm.StructureData, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return engine_inputs(engine, structure, arguments, None)
    except ValueError as error:
        raise ConformanceError(Rule.BUILDER, f'get_builder_from_protocol failed: {error}') from error


def _check_raises(
    engine: type[DfptWorkChain], structure: orm.StructureData, arguments: Mapping[str, Any], rule: Rule
) -> None:
    try:
        engine_inputs(engine, structure, arguments, None)
    except ValueError:
        return
    except Exception as error:
        raise ConformanceError(rule, f'{type(error).__name__} instead of ValueError: {error}') from error
    raise ConformanceError(rule, 'an argument that does not exist is accepted')


def check_response(
    engine: type[DfptWorkChain],
    structure: orm.StructureData,
    arguments: Mapping[str, Any],
    *,
    relax: bool = False,
    tolerance: float = 1e-3,
) -> orm.WorkChainNode:
    """Compute a response three times: as given, rotated by :data:`ROTATION`, and the electronic part only.

    Numbers are not compared with a reference, and the gates may refuse the result, so rough settings are sufficient.

    :param engine: the work chain
    :param structure: an insulator with an anisotropic electronic tensor, for example two atoms in a strained cell
    :param arguments: arguments of ``get_builder_from_protocol`` but the structure
    :param relax: whether to relax the structure first
    :param tolerance: largest allowed difference between the tensors, relative to their largest element
    :return: the first run
    :raises ConformanceError: a rule is broken
    :raises ValueError: the tensor is too isotropic to detect a wrong frame
    """
    node, response = _run(engine, structure, arguments, relax)
    _require(response.ionic is not None, Rule.OUTPUTS, 'no ionic part, although electronic_only is false')
    change = _difference(response.electronic, response.rotated(ROTATION).electronic)
    if change < 10 * tolerance:
        raise ValueError(
            f'structure: a rotation changes the electronic tensor by {change:.2g} of its largest element; choose a '
            f'structure with a change of {10 * tolerance:g} or more'
        )
    _, rotated = _run(engine, rotate_structure(structure, ROTATION), arguments, relax)
    expected = response.rotated(ROTATION)
    for name in ('electronic', 'ionic', 'born_charges'):
        wanted, found = getattr(expected, name), getattr(rotated, name)
        _require((wanted is None) == (found is None), Rule.FRAME, f'{name} is missing in one of two orientations')
        if wanted is not None:
            deviation = _difference(wanted, found)
            _require(deviation <= tolerance, Rule.FRAME, f'{name} of the rotated structure differs by {deviation:.2g}')
    _, electronic = _run(engine, structure, arguments, relax, electronic_only=True)
    _require(electronic.ionic is None, Rule.ELECTRONIC_ONLY, 'an ionic part is present')
    deviation = _difference(response.electronic, electronic.electronic)
    _require(deviation <= tolerance, Rule.ELECTRONIC_ONLY, f'the electronic part differs by {deviation:.2g}')
    return node


def _execute(engine: type[DfptWorkChain], inputs: Mapping[str, Any], rule: Rule) -> tuple[Any, Any]:
    try:
        outputs, node = run_get_node(engine, **inputs)
    except Exception as error:  # whatever a step of the engine raises
        raise ConformanceError(rule, f'the run raised {type(error).__name__}: {error}') from error
    return outputs, node


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest difference of two arrays, relative to the largest element of the first."""
    return float(np.abs(first - second).max() / max(np.abs(first).max(), 1e-12))


def _run(
    engine: type[DfptWorkChain],
    structure: orm.StructureData,
    arguments: Mapping[str, Any],
    relax: bool,
    electronic_only: bool = False,
) -> tuple[orm.WorkChainNode, DielectricResponse]:
    """Run an engine and check the rules that concern a single run."""
    switches = {'relax': orm.Bool(relax), 'electronic_only': orm.Bool(electronic_only)}
    inputs = _inputs(engine, structure, arguments) | switches
    outputs, node = _execute(engine, inputs, Rule.OUTPUTS)
    _require(node.is_finished_ok, Rule.OUTPUTS, f'process {node.pk} failed: [{node.exit_status}] {node.exit_message}')
    quality = outputs['quality'].get_dict()
    wanted = {'label', 'reason', 'gates'}
    _require(set(quality) == wanted, Rule.OUTPUTS, f'quality has the keys {", ".join(quality)}')
    _require('dielectric' in outputs, Rule.OUTPUTS, f'no dielectric; quality: {quality["label"]}, {quality["reason"]}')
    relaxed = 'relaxed_structure' in outputs
    _require(relaxed == relax, Rule.OUTPUTS, f'relaxed_structure is {"there" if relaxed else "missing"}, relax {relax}')
    response: DielectricResponse = outputs['dielectric'].dielectric
    cell = outputs['relaxed_structure'] if relax else structure
    _check_cell(response.crystal, crystal_from_structure('cell', cell))
    _check_provenance(node, outputs, cell)
    _check_core_hours(engine, node)
    again = _inputs(engine, structure, arguments) | {name: orm.Bool(item.value) for name, item in switches.items()}
    _require(same_settings(node, engine, again), Rule.REUSE, 'the same arguments give inputs with other content')
    errors = [log.message for log in orm.Log.collection.get_logs_for(node) if log.levelname == 'ERROR']
    unsaved = [text for text in errors if 'checkpoint' in text]
    _require(not unsaved, Rule.CHECKPOINT, 'the context contains an object that cannot be stored')
    return node, response


def _check_cell(found: Crystal, wanted: Crystal) -> None:
    same = np.array_equal(found.atomic_numbers, wanted.atomic_numbers)
    _require(same, Rule.CELL, 'the response has other atoms, or another order of them')
    deviation = float(np.abs(found.lattice - wanted.lattice).max())
    _require(
        deviation < _SAME_PLACE,
        Rule.CELL,
        f'the lattice of the response differs by {deviation:.3g} Å: another cell or orientation',
    )
    steps = found.fractional_positions - wanted.fractional_positions
    deviation = float(np.abs((steps - np.round(steps)) @ wanted.lattice).max())
    _require(deviation < _SAME_PLACE, Rule.CELL, f'an atom of the response is displaced by {deviation:.3g} Å')


def _check_provenance(node: orm.WorkChainNode, outputs: Mapping[str, Any], cell: orm.StructureData) -> None:
    creator = outputs['dielectric'].creator
    called = {process.uuid for process in node.called_descendants}
    own = isinstance(creator, orm.CalcFunctionNode) and creator.uuid in called
    _require(own, Rule.PROVENANCE, 'the response was not created by a calcfunction of this run')
    query = orm.QueryBuilder()
    query.append(orm.Node, filters={'uuid': outputs['dielectric'].uuid}, tag='response')
    query.append(orm.Node, with_descendants='response', project='uuid')
    ancestors = set(query.all(flat=True))
    for meaning, source in (('its cell', cell), ('the input structure', node.inputs.structure)):
        _require(source.uuid in ancestors, Rule.PROVENANCE, f'the response does not descend from {meaning}')
    steps = [link.node for link in node.base.links.get_outgoing().all() if link.link_label.startswith('dfpt_')]
    used = [step for step in steps if ({step.uuid} | {item.uuid for item in step.called_descendants}) & ancestors]
    _require(bool(used), Rule.PROVENANCE, 'the response does not descend from any process of `dfpt_process`')
    inputs = outputs['quality'].creator.inputs
    same = 'dielectric' in inputs and inputs.dielectric.uuid == outputs['dielectric'].uuid
    _require(same, Rule.PROVENANCE, 'quality was not computed from this response')


def _check_core_hours(engine: type[DfptWorkChain], node: orm.WorkChainNode) -> None:
    hours = engine.core_hours(node)
    jobs = [item for item in node.called_descendants if isinstance(item, orm.CalcJobNode)]
    paid = [job for job in jobs if not job.base.caching.is_created_from_cache]
    _require(np.isfinite(hours) and hours >= 0, Rule.CORE_HOURS, f'{hours} core-hours')
    _require((hours > 0) == bool(paid), Rule.CORE_HOURS, f'{hours} core-hours for {len(paid)} jobs')


def check_failure(
    engine: type[DfptWorkChain], structure: orm.StructureData, arguments: Mapping[str, Any]
) -> orm.WorkChainNode:
    """Run an engine that must fail, with a broken code for example, and check how it ends.

    :param engine: the work chain
    :param structure: a structure that the engine accepts
    :param arguments: arguments of ``get_builder_from_protocol`` but the structure
    :return: the failed run, whose ``exit_status`` the caller may compare
    :raises ConformanceError: it succeeds, excepts, ends with an undeclared exit code, or has a ``quality``
    """
    outputs, node = _execute(engine, _inputs(engine, structure, arguments), Rule.FAILURE)
    declared = {code.status for code in engine.spec().exit_codes.values()}
    _require(not node.is_finished_ok, Rule.FAILURE, f'process {node.pk} succeeded')
    _require(node.exit_status in declared, Rule.FAILURE, f'exit code {node.exit_status} is not declared')
    _require(bool(node.exit_message), Rule.FAILURE, f'exit code {node.exit_status} has no message')
    _require('quality' not in outputs, Rule.FAILURE, 'a failed run has the output quality')
    return node
