"""``goectp.dfpt.vasp``: relaxation and linear response with VASP through the work chains of aiida-vasp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from aiida import orm
from aiida.common.exceptions import MultipleObjectsError, NotExistent
from aiida.engine import Process
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_vasp.utils.ldau import get_ldau_keys
from aiida_vasp.workchains.v2.relax import RelaxOptions

from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS
from aiida_goectp.core.dfpt.vasp_functional import functional_name
from aiida_goectp.data.crystals import to_structure
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.dfpt.base import IONIC_PART_DROPPED, DfptWorkChain
from aiida_goectp.workflows.dfpt.magnetism import DEFAULT_MOMENT, MAGNETIC_MOMENTS, magnetic_elements
from aiida_goectp.workflows.dfpt.vasp.collect import collect_vasp, poscar_species
from aiida_goectp.workflows.dfpt.vasp.handlers import VaspResponseBaseWorkChain, validate_response
from aiida_goectp.workflows.dfpt.vasp.parameters import incar_errors, parameters_errors, settings_errors
from aiida_goectp.workflows.dfpt.vasp.relax import VaspRelaxBaseWorkChain
from aiida_goectp.workflows.dfpt.vasp.structures import invert_lattice, is_left_handed, with_kinds_of
from aiida_goectp.workflows.failures import MissingResourceError, last_job
from aiida_goectp.workflows.protocols.mixin import job_options, merge, restart_inputs
from aiida_goectp.workflows.protocols.overrides import (
    JOB_CHECKS,
    Check,
    as_argument,
    choice,
    code_of,
    keys_of,
    of_type,
    prefixed,
)

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder

__all__ = ('VaspDfptWorkChain',)

_ARRAYS = ('dielectrics', 'born_charges', 'hessian')


class VaspDfptWorkChain(DfptWorkChain):
    """Dielectric response with VASP: LEPSILON, and IBRION = 8 for the ionic part.

    VASP keeps the orientation of the cell in POSCAR, so the tensors are given in the Cartesian frame of the structure.
    It stops on a left-handed cell, so that the lattice vectors of one are inverted for its runs, and again in the
    relaxed structure.
    """

    _PROTOCOL_FILE = 'dfpt_vasp.yaml'
    _OPTIONS = 'dfpt.calc.metadata.options'
    _CHECKS: ClassVar[Mapping[str, Check]] = {
        **dict.fromkeys(('metadata', 'structure', 'code'), as_argument),
        'functional': choice(lambda: VaspDfptWorkChain._read_protocols()['functionals']),
        'potential_family': of_type(orm.Str),
        'potential_mapping': keys_of(ATOMIC_NUMBERS, 'element'),
        'incar': incar_errors,
        'kpoints_spacing': of_type(orm.Float),
        'dfpt.parameters': parameters_errors,
        'relaxation.vasp.parameters': parameters_errors,
        'dfpt.settings': settings_errors,
        'relaxation.vasp.settings': settings_errors,
        'relaxation.relax_settings': keys_of(RelaxOptions.model_fields),
        **prefixed('dfpt.calc', JOB_CHECKS),
        **prefixed('relaxation.vasp.calc', JOB_CHECKS),
    }
    ARGUMENT_CHECKS: ClassVar[Mapping[str, Check]] = {
        'code': code_of('vasp'),
        'functional': _CHECKS['functional'],
        'potential_family': _CHECKS['potential_family'],
        'potential_mapping': _CHECKS['potential_mapping'],
    }

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define the inputs of this engine."""
        super().define(spec)
        spec.input('code', valid_type=orm.AbstractCode, help='Standard version of VASP (vasp_std).')
        spec.expose_inputs(
            VaspResponseBaseWorkChain, namespace='dfpt', exclude=('structure', 'code', 'clean_workdir', 'metadata')
        )
        spec.expose_inputs(
            VaspRelaxBaseWorkChain,
            namespace='relaxation',
            exclude=('structure', 'clean_workdir', 'metadata', 'vasp.code', 'vasp.clean_workdir', 'vasp.metadata'),
            namespace_options={'required': False, 'populate_defaults': False},
        )
        spec.inputs['dfpt'].validator = validate_response
        spec.inputs.validator = _validate

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: orm.AbstractCode | str,
        structure: Any,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        functional: str | None = None,
        potential_family: str | None = None,
        potential_mapping: Mapping[str, str] | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param code: code of VASP, or its full label
        :param structure: ``StructureData``, pymatgen ``Structure`` or ASE ``Atoms``
        :param protocol: fast, balanced or stringent
        :param overrides: inputs that override the protocol, nested as in its YAML file
        :param options: options of all jobs, for example ``{'queue_name': 'long', 'account': 'me'}``
        :param functional: PBEsol, PBE, PBEsol+U or PBE+U
        :param potential_family: label of an uploaded POTCAR family
        :param potential_mapping: element → potential, overriding the mapping of aiida-vasp
        :raises ValueError: unknown protocol, functional or family, or an element without potential
        """
        structure = to_structure(structure)
        if isinstance(code, str):
            code = orm.load_code(code)
        cls.check_arguments(
            code=code,
            options=options,
            functional=functional,
            potential_family=potential_family,
            potential_mapping=potential_mapping,
        )
        inputs = cls.get_protocol_inputs(protocol, overrides)
        potentials = {
            'potential_family': orm.Str(potential_family or inputs['potential_family']),
            'potential_mapping': orm.Dict(
                _mapping(structure, merge(inputs['potential_mapping'], potential_mapping or {}))
            ),
        }
        _check_potentials(structure, potentials)
        electrons = cls._electrons(structure, functional or inputs['functional'])
        incar = merge(merge(inputs['incar'], electrons.pop('incar')), (overrides or {}).get('incar', {}))
        if 'kpoints' not in inputs['dfpt']:
            electrons['kpoints_spacing'] = orm.Float(inputs['kpoints_spacing'])
        builder = cls.get_builder()
        builder.structure, builder.code = structure, code
        builder.dfpt = {**_job(inputs['dfpt'], code, incar, options), **potentials, **electrons}
        relaxation = inputs['relaxation'] | restart_inputs(inputs['relaxation'])
        relaxation['vasp'] = {**_job(relaxation['vasp'], code, incar, options), **potentials, **electrons}
        builder.relaxation = relaxation
        for name, node in cls.common_inputs(inputs).items():
            builder[name] = node
        return builder

    @classmethod
    def _electrons(cls, structure: orm.StructureData, functional: str) -> dict[str, Any]:
        """Return INCAR tags of functional and magnetism, and the mappings of U and magnetic moments, if needed."""
        content = cls._read_protocols()
        chosen = content['functionals'][functional]
        symbols = structure.get_symbols_set()
        result: dict[str, Any] = {'incar': dict(chosen['incar'])}
        hubbard = {
            kind.name: chosen['hubbard'][kind.symbol]
            for kind in structure.kinds
            if kind.symbol in chosen.get('hubbard', {})
        }
        if hubbard and symbols & set(chosen['anions']):
            result['ldau_mapping'] = orm.Dict({'mapping': hubbard})
        if magnetic_elements(structure):
            result['incar']['ispin'] = 2
            values = {kind.name: MAGNETIC_MOMENTS.get(kind.symbol, DEFAULT_MOMENT) for kind in structure.kinds}
            result['magmom_mapping'] = orm.Dict({**values, 'default': DEFAULT_MOMENT})
        return result

    # Interface of DfptWorkChain

    def setup(self) -> None:
        """Initialise the context with a right-handed cell for VASP, ``right_handed``."""
        super().setup()
        given = self.ctx.structure
        self.ctx.right_handed = invert_lattice(given) if is_left_handed(given) else given

    def _right_handed(self) -> orm.StructureData:
        """Return the structure for VASP; checkpoints of an earlier version do not contain it."""
        cell: orm.StructureData = self.ctx.get('right_handed', self.ctx.structure)
        return cell

    def relax_process(self) -> tuple[type[Process], Mapping[str, Any]]:
        """Return the relaxation."""
        inputs = self.exposed_inputs(VaspRelaxBaseWorkChain, 'relaxation', agglomerate=False)
        inputs.structure = self._right_handed()
        inputs.vasp.code = self.inputs.code
        inputs.vasp.clean_workdir = orm.Bool(False)  # removed at the end by on_terminated
        return VaspRelaxBaseWorkChain, inputs

    def relaxed_structure(self, node: orm.ProcessNode) -> orm.StructureData:
        """Return the relaxed structure, with the kinds and the handedness of the input structure."""
        if 'relax' not in node.outputs or 'structure' not in node.outputs.relax:
            raise ValueError('vasp.relax has no output structure')
        relaxed = self.ctx.right_handed = with_kinds_of(node.outputs.relax.structure, self._right_handed())
        return invert_lattice(relaxed) if is_left_handed(self.inputs.structure) else relaxed

    def dfpt_process(self) -> tuple[type[Process], Mapping[str, Any]]:
        """Return the linear response, without the ionic part if ``electronic_only`` is true."""
        inputs = self.exposed_inputs(VaspResponseBaseWorkChain, 'dfpt', agglomerate=False)
        inputs.structure = self._right_handed()
        inputs.code = self.inputs.code
        inputs.clean_workdir = orm.Bool(False)
        if self.inputs.electronic_only.value:
            parameters = inputs.parameters.get_dict()
            parameters['incar'].pop('nsw', None)
            parameters['incar']['ibrion'] = -1
            inputs.parameters = orm.Dict(parameters)
        return VaspResponseBaseWorkChain, inputs

    def collect_dielectric(self) -> DielectricData:
        """Return the response from the outputs and retrieved files of the last job."""
        outputs = self.ctx.last.outputs
        job = outputs.misc.creator
        _, inputs = self.dfpt_process()
        requested = inputs['parameters'].get_dict()['incar']
        used = job.inputs.parameters.get_dict()
        settings = {
            'incar': used,
            'kpoints': _mesh(job.inputs.kpoints),
            'potentials': {name: node.full_name for name, node in job.inputs.potential.items()},
            'notes': _notes(requested, used),
            **({IONIC_PART_DROPPED: True} if _without_ionic_part(requested, used) else {}),
        }
        node: DielectricData = collect_vasp(
            structure=self.ctx.structure if is_left_handed(self.ctx.structure) else job.inputs.structure,
            misc=outputs.misc,
            settings=orm.Dict(settings),
            retrieved=outputs.retrieved,
            **{name: outputs[name] for name in _ARRAYS if name in outputs},
        )
        return node

    @classmethod
    def functional_of(cls, inputs: Mapping[str, Any]) -> str | None:
        """Return the name of the functional; None if it follows from the potentials."""
        incar = dict(inputs['dfpt']['parameters'].get_dict()['incar'])
        if not {'gga', 'metagga'} & {str(tag).lower() for tag in incar}:
            return None
        species = poscar_species(inputs['structure'])
        if 'ldau_mapping' in inputs['dfpt']:
            incar |= get_ldau_keys(inputs['structure'], **inputs['dfpt']['ldau_mapping'].get_dict())
        return functional_name(incar, species)

    @classmethod
    def has_same_potentials(cls, node: orm.WorkChainNode, inputs: Mapping[str, Any]) -> bool:
        """Return whether the last job of an ended run had the potentials that the family contains now."""
        from aiida_vasp.data.potcar import PotcarData

        job = last_job(node)
        if job is None:
            return True
        chosen = inputs['dfpt']
        family, mapping = chosen['potential_family'].value, chosen['potential_mapping'].get_dict()
        now = PotcarData.get_potcars_from_structure(inputs['structure'], family, mapping)
        used = job.inputs.potential.values()
        return {node.sha512 for node in used} == {node.sha512 for node in now.values()}

    @classmethod
    def job_seconds(cls, job: orm.CalcJobNode) -> float:
        """Return the wall time of a job in seconds from OUTCAR, else from the scheduler."""
        if 'misc' in job.outputs:
            elapsed = job.outputs.misc.get_dict().get('run_stats', {}).get('elapsed_time')
            if elapsed:
                return float(elapsed)
        return super().job_seconds(job)


def _validate(inputs: Any, _: Any = None) -> str | None:
    """Return an error if the relaxation is requested without its inputs."""
    if 'relax' in inputs and inputs['relax'].value and 'parameters' not in inputs.get('relaxation', {}).get('vasp', {}):
        return 'relax is true, but relaxation.vasp is empty; give its inputs or set relax to false'
    return None


def _mapping(structure: orm.StructureData, changes: Mapping[str, str]) -> dict[str, str]:
    """Return the potential of each kind and each element of a structure.

    Elements are included because aiida-vasp names the kinds of a structure that it parses by element.
    """
    from aiida_vasp.workchains.v2.vasp import VaspWorkChain

    known = {**VaspWorkChain.get_protocol_inputs()['potential_mapping'], **changes}
    missing = sorted(structure.get_symbols_set() - set(known))
    if missing:
        raise ValueError(f'potential_mapping: no potential for {", ".join(missing)}; add it to the mapping')
    kinds = {kind.name: known[kind.symbol] for kind in structure.kinds}
    return {**{symbol: known[symbol] for symbol in sorted(structure.get_symbols_set())}, **kinds}


def _check_potentials(structure: orm.StructureData, potentials: Mapping[str, Any]) -> None:
    from aiida_vasp.data.potcar import PotcarData

    family = potentials['potential_family'].value
    if PotcarData.get_potcar_group(family) is None:
        raise MissingResourceError(
            f'potential_family: unknown family {family!r}; upload it with `aiida-vasp potcar uploadfamily`, or give '
            'another label'
        )
    try:
        PotcarData.get_potcars_from_structure(structure, family, potentials['potential_mapping'].get_dict())
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        raise ValueError(
            f'potential_family: {family!r} is not usable for {structure.get_formula()}: {error}'
        ) from error


def _job(
    inputs: Mapping[str, Any], code: orm.AbstractCode, incar: Mapping[str, Any], options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the inputs of a run, with its own INCAR tags merged over those of all runs."""
    job = {**inputs, **restart_inputs(inputs)}
    job['parameters'] = orm.Dict(merge({'incar': incar}, inputs['parameters']))
    job['settings'] = orm.Dict(inputs['settings'])
    metadata = inputs['calc']['metadata']
    job['calc'] = {'metadata': {**metadata, 'options': job_options(code, metadata['options'], options)}}
    return job


def _mesh(kpoints: orm.KpointsData) -> Any:
    """Return mesh and offset, or the number of points of an explicit list."""
    try:
        mesh, offset = kpoints.get_kpoints_mesh()
    except AttributeError:
        return len(kpoints.get_kpoints())
    return {'mesh': list(mesh), 'offset': list(offset)}


def _without_ionic_part(requested: Mapping[str, Any], used: Mapping[str, Any]) -> bool:
    """Return whether error handlers switched the ionic part off."""
    return requested.get('ibrion') in (7, 8) and used.get('ibrion') not in (7, 8)


def _notes(requested: Mapping[str, Any], used: Mapping[str, Any]) -> list[str]:
    """Return the changes that error handlers made to the INCAR tags."""
    notes = []
    if _without_ionic_part(requested, used):
        notes.append('ionic part too large for memory or wall time: electronic part only')
    changed = {
        tag: used.get(tag)
        for tag in ('algo', 'amix', 'bmix', 'ediff', 'isym', 'kpar', 'nelm', 'symprec')
        if used.get(tag) != requested.get(tag)
    }
    if changed:
        tags = ', '.join(f'{tag.upper()} = {"default" if value is None else value}' for tag, value in changed.items())
        notes.append(f'changed by error handlers: {tags}')
    return notes
