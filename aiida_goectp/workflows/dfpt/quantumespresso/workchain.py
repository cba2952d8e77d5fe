"""``goectp.dfpt.quantumespresso``: relaxation, ``pw.x`` and ``ph.x`` at Γ with aiida-quantumespresso."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from aiida import orm
from aiida.common import AttributeDict
from aiida.common.exceptions import NotExistent
from aiida.engine import ExitCode, Process
from aiida.engine.processes.workchains.workchain import WorkChainSpec

from aiida_goectp.core.dfpt.espresso_functional import functional_name
from aiida_goectp.core.dielectric.gate_codes import GateCode
from aiida_goectp.core.dielectric.gates import DEFAULT_THRESHOLDS
from aiida_goectp.data.crystals import to_structure
from aiida_goectp.data.dielectric import DielectricData
from aiida_goectp.workflows.dfpt.base import IONIC_PART_DROPPED, DfptWorkChain
from aiida_goectp.workflows.dfpt.continuation import has_working_folder
from aiida_goectp.workflows.dfpt.quantumespresso.collect import band_gap_quantumespresso, collect_quantumespresso
from aiida_goectp.workflows.dfpt.quantumespresso.error_handlers import (
    INTERRUPTED,
    OUT_OF_WALLTIME,
    ErrorHandler,
    has_tensors,
    is_converged,
    job_failure,
    select_handler,
)
from aiida_goectp.workflows.dfpt.quantumespresso.hubbard import with_hubbard
from aiida_goectp.workflows.dfpt.quantumespresso.orientation import (
    align_symmetry_axes,
    rotate_back,
    special_points_mesh,
)
from aiida_goectp.workflows.dfpt.quantumespresso.parameters import (
    ground_state_errors,
    magnetism_error,
    occupations,
    ph_errors,
    pw_errors,
    validate_electrons,
)
from aiida_goectp.workflows.dfpt.quantumespresso.plugin import require_quantumespresso
from aiida_goectp.workflows.dfpt.quantumespresso.pseudopotentials import (
    RYDBERG,
    choose_pseudopotentials,
    functional_of_pseudos,
    installed_families,
    with_cutoffs,
)
from aiida_goectp.workflows.failures import failure_reason, finished_process, last_job
from aiida_goectp.workflows.protocols.mixin import job_inputs, job_options, merge, restart_inputs
from aiida_goectp.workflows.protocols.overrides import JOB_CHECKS, Check, as_argument, code_of, of_type, prefixed

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder

__all__ = ('QuantumEspressoDfptWorkChain',)

_QPOINTS = ('qpoints', 'qpoints_distance', 'qpoints_force_parity')
_NOT_CONVERGED = 410
_PH_EXIT_CODES = {
    _NOT_CONVERGED: 'ERROR_PH_NOT_CONVERGED',
    **dict.fromkeys((OUT_OF_WALLTIME, 120), 'ERROR_OUT_OF_WALLTIME'),
}


class QuantumEspressoDfptWorkChain(DfptWorkChain):
    """Dielectric response with Quantum ESPRESSO, for crystals without magnetic moments; others are refused.

    The cell is rotated to the orientation in which ``pw.x`` finds its symmetry, and the response is rotated back into
    the Cartesian frame of the (relaxed) structure. Occupations are fixed. A crystal with an odd number of electrons
    (without spin) or with overlapping bands is a metal: the gap gate is evaluated and no response is computed.
    """

    _PROTOCOL_FILE = 'dfpt_quantumespresso.yaml'
    _OPTIONS = 'ph.ph.metadata.options'
    _CHECKS: ClassVar[Mapping[str, Check]] = {
        **dict.fromkeys(('metadata', 'structure', 'scf.pw.code', 'ph.ph.code'), as_argument),
        'pseudo_family': of_type(orm.Str, orm.List),
        'stringency': of_type(orm.Str),
        'scf.pw.parameters': ground_state_errors,
        'ph.ph.parameters': ph_errors,
        'relax_parameters': pw_errors,
        **prefixed('scf.pw', JOB_CHECKS),
        **prefixed('ph.ph', JOB_CHECKS),
    }
    ARGUMENT_CHECKS: ClassVar[Mapping[str, Check]] = {
        'pw_code': code_of('quantumespresso.pw'),
        'ph_code': code_of('quantumespresso.ph'),
        'pseudo_family': of_type(orm.Str, orm.List),
    }

    job_failure = staticmethod(job_failure)
    defaults = AttributeDict({**DfptWorkChain.defaults, 'smearing': {'occupations': 'smearing', 'degauss': 0.02}})

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs and exit codes of this engine."""
        super().define(spec)
        _, pw, ph = require_quantumespresso()
        points = ('kpoints', 'kpoints_distance', 'kpoints_force_parity')
        spec.expose_inputs(pw, namespace='scf', exclude=(*points, 'clean_workdir', 'pw.structure', 'pw.parent_folder'))
        spec.expose_inputs(
            ph,
            namespace='ph',
            exclude=('clean_workdir', 'only_initialization', *_QPOINTS, 'ph.parent_folder'),
        )
        to_node = orm.to_aiida_type
        spec.input(
            'kpoints', valid_type=orm.KpointsData, required=False, help='k-point mesh; overrides `kpoints_distance`.'
        )
        spec.input(
            'kpoints_distance',
            valid_type=orm.Float,
            default=lambda: orm.Float(0.65),
            serializer=to_node,
            help='Largest step between k points in 1/Å; the mesh is shifted where the symmetry allows.',
        )
        spec.input(
            'relax_parameters',
            valid_type=orm.Dict,
            default=lambda: orm.Dict({'CONTROL': {'calculation': 'vc-relax'}}),
            serializer=to_node,
            help='Parameters of pw.x for the relaxation, merged over those of the ground state.',
        )
        spec.input(
            'recommended_cutoff',
            valid_type=orm.Float,
            required=False,
            serializer=to_node,
            help='Cutoff in eV recommended by the pseudopotential family, for the cutoff gate.',
        )
        spec.input(
            'nonmagnetic',
            valid_type=orm.Bool,
            required=False,
            serializer=to_node,
            help='Crystals with V, Cr, Mn, Fe, Co, Ni, Eu or Gd have no magnetic moments; else they are refused.',
        )
        spec.inputs.validator = validate_electrons
        spec.exit_code(501, 'ERROR_SCF_NOT_CONVERGED', message='The ground state did not converge: {message}')
        spec.exit_code(502, 'ERROR_PH_NOT_CONVERGED', message='The response did not converge: {message}')
        spec.exit_code(503, 'ERROR_SCF_FAILED', message='The ground state failed: {message}')
        spec.exit_code(504, 'ERROR_PH_FAILED', message='The response failed: {message}')
        spec.exit_code(
            505, 'ERROR_OUT_OF_WALLTIME', message='The wall time was too short, restarts included: {message}'
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        pw_code: orm.AbstractCode | str,
        ph_code: orm.AbstractCode | str,
        structure: Any,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        pseudo_family: str | None = None,
    ) -> ProcessBuilder:
        """Return a builder with the inputs of a protocol.

        :param pw_code: code of ``pw.x``, or its full label
        :param ph_code: code of ``ph.x``, or its full label
        :param structure: ``StructureData``, pymatgen ``Structure`` or ASE ``Atoms``
        :param protocol: fast, balanced or stringent
        :param overrides: inputs that override the protocol, nested as in its YAML file
        :param options: options of all jobs, for example ``{'queue_name': 'long', 'account': 'me'}``
        :param pseudo_family: label of an installed family; by default the first family of the protocol that is
            installed and contains all elements
        :raises ValueError: unknown protocol or family, an element that the family does not contain, or a crystal that
            may be magnetic
        """
        require_quantumespresso()
        structure = to_structure(structure)
        codes = [orm.load_code(code) if isinstance(code, str) else code for code in (pw_code, ph_code)]
        cls.check_arguments(pw_code=codes[0], ph_code=codes[1], options=options, pseudo_family=pseudo_family)
        inputs = cls.get_protocol_inputs(protocol, overrides)
        if error := magnetism_error(structure, inputs['scf']['pw']['parameters'], inputs['nonmagnetic']):
            raise ValueError(error)
        labels = inputs['pseudo_family'] if pseudo_family is None else pseudo_family
        labels = [labels] if isinstance(labels, str) else labels
        pseudos, cutoffs, recommended = choose_pseudopotentials(structure, labels, inputs['stringency'])
        scf, ph = inputs['scf'], inputs['ph']
        parameters = with_cutoffs(scf['pw']['parameters'], cutoffs)
        for job, code in zip((scf['pw'], ph['ph']), codes, strict=True):
            job['metadata']['options'] = job_options(code, job['metadata']['options'], options)
        builder = cls.get_builder()
        builder.structure = structure
        builder.scf = {
            'pw': job_inputs(scf['pw'], codes[0]) | {'parameters': orm.Dict(parameters), 'pseudos': pseudos},
            **restart_inputs(scf),
        }
        builder.ph = {'ph': job_inputs(ph['ph'], codes[1]), **restart_inputs(ph)}
        builder.relax_parameters = orm.Dict(inputs['relax_parameters'])
        if inputs['nonmagnetic']:
            builder.nonmagnetic = orm.Bool(True)
        builder.kpoints_distance = orm.Float(inputs['kpoints_distance'])
        if recommended is not None:
            builder.recommended_cutoff = orm.Float(recommended)
        for name, node in cls.common_inputs(inputs).items():
            builder[name] = node
        return builder

    # Interface of DfptWorkChain

    @classmethod
    def settled_arguments(cls, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add the families of pseudopotentials that are installed now, unless one is given."""
        require_quantumespresso()
        inputs = cls.get_protocol_inputs(arguments.get('protocol'), arguments.get('overrides'))
        families = inputs['pseudo_family']
        if arguments.get('pseudo_family') is not None or isinstance(families, str):
            return arguments
        installed = installed_families(families)
        return {**arguments, 'pseudo_family': installed} if installed else arguments

    def setup(self) -> None:
        """Initialise the context; the first stage is the ground state."""
        super().setup()
        self.ctx.stage = 'scf'
        self.ctx.tried = []
        self.ctx.notes = []
        self.ctx.dropped = False
        self.ctx.changes = {'scf': {}, 'ph': {}}

    def relax_process(self) -> tuple[type[Process], Mapping[str, Any]]:
        """Return the variable-cell relaxation of aiida-quantumespresso."""
        relax, _, _ = require_quantumespresso()
        structure = self._orient()
        base = self._pw_inputs(structure)
        base['pw'].pop('structure')
        base['pw']['parameters'] = orm.Dict(
            merge(base['pw']['parameters'].get_dict(), self.inputs.relax_parameters.get_dict())
        )
        return relax, {'structure': structure, 'base_relax': base}

    def inspect_relax(self) -> ExitCode | None:
        """Continue with the relaxed structure; mention a low cutoff in the message of a failed relaxation."""
        code = super().inspect_relax()
        if code is None or 'recommended_cutoff' not in self.inputs:
            return code
        cutoff = self.inputs.scf.pw.parameters.get_dict().get('SYSTEM', {}).get('ecutwfc', 0.0)
        recommended = self.inputs.recommended_cutoff.value / RYDBERG
        if cutoff >= DEFAULT_THRESHOLDS[GateCode.SUFFICIENT_CUTOFF] * recommended:
            return code
        return code._replace(
            message=f'{code.message} The cutoff ecutwfc = {cutoff:g} Ry is below the recommended {recommended:g} Ry: '
            'the Pulay stress of the small basis compresses the cell. Increase ecutwfc, or set relax to false.'
        )

    def relaxed_structure(self, node: orm.ProcessNode) -> orm.StructureData:
        """Return the relaxed structure, rotated back."""
        if 'output_structure' not in node.outputs:
            raise ValueError('PwRelaxWorkChain has no output_structure')
        return rotate_back(node.outputs.output_structure, self.ctx.rotation)

    def dfpt_process(self) -> tuple[type[Process], Mapping[str, Any]]:
        """Return the ground state, or the response of the ground state."""
        _, pw, ph = require_quantumespresso()
        if self.ctx.stage == 'scf':
            return pw, self._pw_inputs(self._orient())
        inputs = self.exposed_inputs(ph, 'ph')
        parameters = merge(inputs['ph']['parameters'].get_dict(), self.ctx.changes['ph'])
        flags = {'epsil': True, 'trans': not self.inputs.electronic_only.value}
        points = orm.KpointsData()
        if flags['trans']:
            points.set_kpoints_mesh([1, 1, 1])
        else:  # with a mesh, ph.x would compute phonons in spite of trans = .false.
            points.set_cell_from_structure(self.ctx.oriented)
            points.set_kpoints([[0.0, 0.0, 0.0]])
        inputs['qpoints'] = points
        inputs['ph']['parameters'] = orm.Dict(merge(parameters, {'INPUTPH': flags}))
        inputs['ph']['parent_folder'] = self.ctx.parent.outputs.remote_folder
        return ph, inputs

    def go_back(self) -> bool:
        """Return whether the ground state is used or computed anew, since a folder of an earlier run is gone."""
        job: Any = last_job(self.ctx.parent) if self.ctx.stage == 'ph' else None
        older = job is not None and ('continue_from' in self.inputs or job.base.caching.is_created_from_cache)
        if not older or has_working_folder(self.ctx.parent):
            return False
        self.report(f'the working folder of {job.process_label}<{job.pk}>, from which ph.x would start, is gone')
        ground = self.ctx.ground_state
        if self.ctx.parent.uuid != ground.uuid and has_working_folder(ground):
            self.ctx.parent = ground
        else:
            self.ctx.stage, self.ctx.without_cache = 'scf', True
        return True

    def inspect_dfpt(self) -> ExitCode | None:
        """Continue from the ground state to the response unless the gap is zero; handle errors."""
        node = finished_process(self.ctx.last)
        if not node.is_finished_ok:
            return self._handle_failure(node)
        if self.ctx.stage == 'ph':
            job = last_job(node)
            handler = select_handler('ph', _NOT_CONVERGED, self.ctx.tried)
            # ph.x may end without an error message; if no handler is left, the gate refuses unconverged tensors
            if job is not None and not is_converged(job) and (handler is not None or not has_tensors(job)):
                return self._handle_failure(node, _NOT_CONVERGED)
            self.ctx.response = node
            self.ctx.done = True
            return None
        self.ctx.ground_state = self.ctx.parent = node
        self.ctx.stage = 'ph'
        try:
            gap = band_gap_quantumespresso(node.outputs.output_band)
        except (NotExistent, KeyError, ValueError) as error:
            return self.exit_codes.ERROR_SCF_FAILED.format(message=f'no band gap in the outputs of pw.x: {error}')
        if gap.value <= 0:
            self.ctx.band_gap = gap
            self.ctx.done = True
        return None

    def collect_dielectric(self) -> DielectricData:
        """Return the response, rotated back into the frame of the structure."""
        if 'response' not in self.ctx:
            raise ValueError('the ground state is metallic; ph.x computes a dielectric tensor of insulators only')
        outputs = self.ctx.ground_state.outputs
        scf, response = last_job(self.ctx.ground_state), last_job(self.ctx.response)
        if scf is None or response is None:
            raise ValueError('the work chains of aiida-quantumespresso submitted no job')
        settings = {
            'electronic_only': self.inputs.electronic_only.value,
            'pseudopotentials': {kind: pseudo.md5 for kind, pseudo in self.inputs.scf.pw.pseudos.items()},
            'ground_state': with_hubbard(scf.inputs.parameters.get_dict(), self.ctx.oriented),
            'response': self.inputs.ph.ph.parameters.get_dict(),
        }
        if 'recommended_cutoff' in self.inputs:
            settings['recommended_cutoff'] = self.inputs.recommended_cutoff.value
        if self.ctx.notes:
            settings['notes'] = list(self.ctx.notes)
        if 'nonmagnetic' in self.inputs:
            settings['nonmagnetic'] = self.inputs.nonmagnetic.value
        if self.ctx.dropped:
            settings[IONIC_PART_DROPPED] = True
        return collect_quantumespresso(
            structure=self.ctx.oriented,
            ground_state=outputs.output_parameters,
            bands=outputs.output_band,
            trajectory=outputs.output_trajectory,
            retrieved=response.outputs.retrieved,
            settings=orm.Dict(settings),
            rotation=self.ctx.rotation,
        )

    @classmethod
    def functional_of(cls, inputs: Mapping[str, Any]) -> str | None:
        """Return the name of the functional; None if the potentials do not state theirs, or state several."""
        parameters = with_hubbard(inputs['scf']['pw']['parameters'].get_dict(), inputs['structure'])
        stated = functional_of_pseudos(inputs['scf']['pw']['pseudos'].values())
        text = parameters.get('SYSTEM', {}).get('input_dft', stated)
        response = inputs['ph']['ph']['parameters'].get_dict()
        return None if text is None else functional_name(str(text), {**parameters, **response})

    @classmethod
    def job_seconds(cls, job: orm.CalcJobNode) -> float:
        """Return the wall time in seconds from the output of the program, else from the scheduler."""
        if 'output_parameters' in job.outputs:
            seconds = job.outputs.output_parameters.get_dict().get('wall_time_seconds')
            if seconds:
                return float(seconds)
        return super().job_seconds(job)

    # Helpers

    def _orient(self) -> orm.StructureData:
        """Return the rotated structure for pw.x; store it and the rotation in the context."""
        aligned = align_symmetry_axes(self.ctx.structure)
        self.ctx.oriented, self.ctx.rotation = aligned['structure'], aligned['rotation']
        return self.ctx.oriented

    def _pw_inputs(self, structure: orm.StructureData) -> AttributeDict:
        """Return inputs of the work chain of ``pw.x`` with occupations, bands and k points for a structure."""
        _, pw, _ = require_quantumespresso()
        inputs = self.exposed_inputs(pw, 'scf')
        electrons = sum(inputs['pw']['pseudos'][site.kind_name].z_valence for site in structure.sites)
        parameters = inputs['pw']['parameters'].get_dict()
        system = occupations(electrons, parameters.get('SYSTEM', {}))
        if system is None:
            self.report(
                f'{round(electrons)} electrons: an odd number, so that the crystal is metallic without spin order'
            )
            system = dict(self.defaults.smearing)
        parameters = merge({'SYSTEM': system}, parameters)
        inputs['pw']['parameters'] = orm.Dict(merge(parameters, self.ctx.changes['scf']))
        inputs['pw']['structure'] = structure
        if 'without_cache' in self.ctx:
            inputs['pw']['metadata']['disable_cache'] = True
        if 'kpoints' in self.inputs:
            inputs['kpoints'] = self.inputs.kpoints
        else:
            inputs['kpoints'] = special_points_mesh(structure, self.inputs.kpoints_distance)
        return inputs

    def _handle_failure(self, node: orm.ProcessNode, status: int | None = None) -> ExitCode | None:
        """Apply the next error handler; else keep the electronic part without phonons; else return an exit code.

        :param status: error code, for a job that ended without one
        """
        job = last_job(node)
        if status is None and job is not None:
            status = job.exit_status
        handler = select_handler(self.ctx.stage, status, self.ctx.tried)
        if handler is not None and job is not None:
            self._apply(handler, job)
            return None
        message = failure_reason(node) if job is None else job_failure(job)
        if node.is_finished_ok:
            message = 'ph.x ended without an error message before the response had converged'
        if self.ctx.stage == 'ph' and job is not None and has_tensors(job):
            self.ctx.notes = [*self.ctx.notes, f'phonons failed ({message}): electronic part only']
            self.ctx.dropped = status in (OUT_OF_WALLTIME, *INTERRUPTED)
            self.report(self.ctx.notes[-1])
            self.ctx.response = node
            self.ctx.done = True
            return None
        if self.ctx.stage == 'scf':
            name = 'ERROR_SCF_NOT_CONVERGED' if status == _NOT_CONVERGED else 'ERROR_SCF_FAILED'
        else:
            name = _PH_EXIT_CODES.get(status or 0, 'ERROR_PH_FAILED')
        return getattr(self.exit_codes, name).format(message=message)

    def _apply(self, handler: ErrorHandler, job: orm.CalcJobNode) -> None:
        note = f'{handler.name}: {handler.action}'
        self.report(f'{job.process_label}<{job.pk}> {job_failure(job)}; {note}')
        self.ctx.tried = [*self.ctx.tried, handler.name]
        self.ctx.notes = [*self.ctx.notes, note]
        stage = 'scf' if handler.restart == 'scf' else handler.stage
        self.ctx.changes = {**self.ctx.changes, stage: merge(self.ctx.changes[stage], handler.parameters)}
        self.ctx.stage = stage
        if handler.restart == 'recover':
            self.ctx.parent = job
        elif stage == 'ph':
            self.ctx.parent = self.ctx.ground_state
