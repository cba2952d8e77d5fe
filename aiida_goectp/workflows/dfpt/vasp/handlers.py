"""``VaspWorkChain`` of aiida-vasp with further error handlers, and its subclass for linear response."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessHandlerReport, ToContext, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_vasp.calcs.vasp import VaspCalculation
from aiida_vasp.workchains.v2.vasp import VaspWorkChain, validate_calc_job_custom

from aiida_goectp.core.dielectric.outcar import read_loops, read_outcar, refusal, resource_problem, symmetry_problem
from aiida_goectp.workflows.aiida_private import NamedStepFailureMixin, RestartMixin
from aiida_goectp.workflows.dfpt.retrieved import last_error_line, read_retrieved
from aiida_goectp.workflows.dfpt.vasp.structures import with_kinds_of
from aiida_goectp.workflows.submit_once import CalledOnceMixin

__all__ = ('VaspBaseWorkChain', 'VaspResponseBaseWorkChain', 'validate_response')

_CODES = VaspCalculation.spec().exit_codes
_INTERRUPTED = frozenset(
    {
        _CODES.ERROR_NO_RETRIEVED_FOLDER.status,
        _CODES.ERROR_CRITICAL_MISSING_OBJECT.status,
        _CODES.ERROR_DID_NOT_FINISH.status,
        _CODES.ERROR_NOT_ABLE_TO_PARSE_QUANTITY.status,
        _CODES.ERROR_SCHEDULER_OUT_OF_MEMORY.status,
        _CODES.ERROR_SCHEDULER_OUT_OF_WALLTIME.status,
        _CODES.ERROR_SCHEDULER_NODE_FAILURE.status,
    }
)
_SOLVER_ERRORS = (
    'EDDDAV',
    'EDDAV',
    'EDDRMM',
    'ZHEGV',
    'BRMIX',
    'CNORMN',
    'DENMP',
    'not Hermitian',
    'Hermitian in DAV',
)
_MIN_NELM = 200
_IONIC_IBRION = (7, 8)


class VaspBaseWorkChain(CalledOnceMixin, NamedStepFailureMixin, RestartMixin, VaspWorkChain):
    """``VaspWorkChain`` with handlers for symmetry, wall time, memory, interruptions and electronic convergence.

    They have priority over the handlers of aiida-vasp, which handle the remaining errors.
    """

    defaults = AttributeDict(
        {
            'symprec': 1e-8,  # VASP's default is 1e-5
            'walltime_fraction': 0.95,  # a job interrupted after this fraction of its wall time ran out of it
            'nelm': 400,
            'unexplained_terminations': 2,  # before the ionic part or the run is given up
        }
    )

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define the limit of the wall time, and exit codes."""
        super().define(spec)
        spec.input(
            'max_wallclock_seconds',
            valid_type=orm.Int,
            default=lambda: orm.Int(7 * 24 * 3600),
            serializer=orm.to_aiida_type,
            help='Largest wall time in seconds that a restart requests.',
        )
        spec.exit_code(521, 'ERROR_REFUSED_BY_VASP', message='VASP stopped with an error message: {message}')
        spec.exit_code(
            522, 'ERROR_SYMMETRY', message='The symmetry error persists with a tighter SYMPREC and ISYM = 0: {message}'
        )
        spec.exit_code(523, 'ERROR_NO_CONVERGENCE', message='The {what} did not converge with any of the settings.')
        spec.exit_code(
            524, 'ERROR_WALLTIME', message='{seconds} s are too short; use more cores or raise max_wallclock_seconds.'
        )
        spec.exit_code(525, 'ERROR_MEMORY', message='Out of memory; use more nodes.')
        spec.exit_code(526, 'ERROR_DIED', message='VASP terminated {number} times without an error message{message}')

    def setup(self) -> None:
        """Initialise the counts of attempts."""
        super().setup()
        self.ctx.attempts = {'symmetry': 0, 'ground state': 0, 'response': 0, 'termination': 0, 'tensor': 0}

    def run_process(self) -> ToContext:
        """Run the next job; a structure that a handler took from the last one has the kinds of the input."""
        self.ctx.inputs.structure = with_kinds_of(self.ctx.inputs.structure, self.inputs.structure)
        return super().run_process()

    # Errors

    def _output_text(self, node: orm.CalcJobNode) -> str:
        """Return the standard output of VASP and both streams of the scheduler."""
        names = (VaspCalculation._VASP_OUTPUT, node.get_option('scheduler_stderr'), node.get_option('scheduler_stdout'))
        return '\n'.join(read_retrieved(node, name) for name in names if name)

    def _exhausted_resource(self, node: orm.CalcJobNode) -> str | None:
        """Return ``time`` or ``memory`` if a job was interrupted for lack of it, else ``None``."""
        if node.exit_status not in _INTERRUPTED:
            return None
        if node.exit_status == _CODES.ERROR_SCHEDULER_OUT_OF_WALLTIME.status:
            return 'time'
        if node.exit_status == _CODES.ERROR_SCHEDULER_OUT_OF_MEMORY.status:
            return 'memory'
        resource = resource_problem(self._output_text(node))
        if resource:
            return resource
        info, requested = node.get_last_job_info(), node.get_option('max_wallclock_seconds')
        if info is None or not info.wallclock_time_seconds or not requested:
            return None
        return 'time' if info.wallclock_time_seconds >= self.defaults.walltime_fraction * requested else None

    # Actions

    def _restart(self, node: orm.CalcJobNode, problem: str, **tags: Any) -> ProcessHandlerReport:
        """Change INCAR tags (``None`` removes one) and restart; without a change, not from the cache.

        Caching does not compare wall times: the failed job would be taken in place of a longer one.
        """
        for tag, value in tags.items():
            if value is None:
                self.ctx.inputs.parameters.pop(tag, None)
            else:
                self.ctx.inputs.parameters[tag] = value
        self.ctx.inputs.metadata['disable_cache'] = not tags
        changes = ', '.join(f'{tag.upper()} = {"default" if value is None else value}' for tag, value in tags.items())
        self.report(f'{node.process_label}<{node.pk}>: {problem}; restart{" with " + changes if changes else ""}')
        return ProcessHandlerReport(True)

    def _abort(self, code: ExitCode) -> ProcessHandlerReport:
        self.report(code.message or 'aborting')
        return ProcessHandlerReport(True, code)

    def _without_ionic_part(self, node: orm.CalcJobNode, problem: str) -> ProcessHandlerReport | None:
        """Restart without the ionic part if the run computes one, else return ``None``."""
        return None

    def _count_attempt(self, name: str) -> int:
        """Return the number of earlier attempts of this kind, and count this one."""
        before = int(self.ctx.attempts[name])
        self.ctx.attempts = {**self.ctx.attempts, name: before + 1}
        return before

    def _continue_relaxation(self, node: orm.CalcJobNode) -> None:
        """Start the next run of a relaxation from the last structure of this one."""
        if self.ctx.inputs.parameters.get('nsw', 0) > 1 and 'structure' in node.outputs:
            self.ctx.inputs.structure = node.outputs.structure

    @process_handler(priority=1500)
    def handle_symmetry_error(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Handle inconsistent symmetry: tighten SYMPREC, then set ISYM = 0.

        If the linear response requests other k points, set ISYM = 0 at once. Without symmetry the response costs more
        and its result is the same.
        """
        if node.is_finished_ok or self._exhausted_resource(node) is not None:  # some of the messages may be warnings
            return None
        problem = symmetry_problem(self._output_text(node))
        if problem is None:
            return None
        attempt = self._count_attempt('symmetry')
        if 'change of the k-point set' in problem:
            attempt += 1
        if attempt == 0:
            return self._restart(node, problem, symprec=self.defaults.symprec)
        if self.ctx.inputs.parameters.get('isym') != 0:
            return self._restart(node, problem, isym=0, symprec=None, ncore=None, npar=None)
        return self._abort(self.exit_codes.ERROR_SYMMETRY.format(message=problem))

    @process_handler(priority=1450)
    def handle_unrecoverable_error(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Abort with the text of VASP's error box."""
        message = None if node.is_finished_ok else refusal(self._output_text(node))
        return None if message is None else self._abort(self.exit_codes.ERROR_REFUSED_BY_VASP.format(message=message))

    @process_handler(priority=1400)
    def handle_out_of_walltime(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Double the wall time, up to ``max_wallclock_seconds``; continue a relaxation from its last structure.

        At the limit, restart a response without its ionic part; abort any other run.
        """
        if self._exhausted_resource(node) != 'time':
            return None
        options = self.ctx.inputs.metadata['options']
        seconds = int(options.get('max_wallclock_seconds') or self.inputs.max_wallclock_seconds.value)
        more = min(2 * seconds, self.inputs.max_wallclock_seconds.value)
        if more <= seconds:
            code = self.exit_codes.ERROR_WALLTIME.format(seconds=seconds)
            return self._without_ionic_part(node, f'{seconds} s are too short') or self._abort(code)
        options['max_wallclock_seconds'] = more
        self._continue_relaxation(node)
        return self._restart(node, f'interrupted after {seconds} s; wall time increased to {more} s')

    @process_handler(priority=1390)
    def handle_out_of_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Set KPAR = 1, which stores the orbitals once; then restart a response without its ionic part, or abort."""
        if self._exhausted_resource(node) != 'memory':
            return None
        if int(self.ctx.inputs.parameters.get('kpar', 1)) > 1:
            return self._restart(node, 'out of memory', kpar=1)
        return self._without_ionic_part(node, 'out of memory') or self._abort(self.exit_codes.ERROR_MEMORY)

    @process_handler(priority=1380)
    def handle_unexplained_termination(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Restart after a termination without an error message, which may be due to a failed node.

        The second time, restart a response without its ionic part; abort any other run.
        """
        if node.exit_status not in _INTERRUPTED:
            return None
        number = self._count_attempt('termination') + 1
        if number < self.defaults.unexplained_terminations:
            self._continue_relaxation(node)
            return self._restart(node, 'terminated without an error message')
        problem = f'terminated {number} times without an error message'
        code = self.exit_codes.ERROR_DIED.format(number=number, message=last_error_line(node))
        return self._without_ionic_part(node, problem) or self._abort(code)

    @process_handler(priority=1300)
    def handle_electronic_convergence_not_reached(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Handle a self-consistency loop that did not reach EDIFF, or an error of the electronic solver.

        Ground state: ALGO = All and a higher NELM, then ALGO = Normal with slow mixing. Response: a higher NELM, then
        ten times EDIFF. The result of the parser is used only if OUTCAR contains no loop, because the parser counts
        the iterations of the response as those of the ground state.
        """
        loops = [loop.converged for loop in read_loops(read_retrieved(node, 'OUTCAR').splitlines())]
        tags = self.ctx.inputs.parameters
        unconverged = node.exit_status == _CODES.ERROR_ELECTRONIC_NOT_CONVERGED.status
        if tags.get('nsw', 0) > 1 and not unconverged:
            loops = []  # loops of intermediate ionic steps may stop early
        broken = node.exit_status == _CODES.ERROR_VASP_CRITICAL_ERROR.status and any(
            word in f'{node.exit_message} {self._output_text(node)}' for word in _SOLVER_ERRORS
        )
        failed = unconverged and not loops
        if not (broken or failed or not all(loops)):
            return None
        nelm = max(2 * int(tags.get('nelm', 60)), self.defaults.nelm)
        if broken or failed or not loops[0] or not tags.get('lepsilon'):
            attempt = self._count_attempt('ground state')
            if attempt == 0:
                return self._restart(node, 'the ground state did not converge', algo='all', nelm=nelm)
            if attempt == 1:
                slow = {'algo': 'normal', 'amix': 0.1, 'bmix': 0.01}
                return self._restart(node, 'the ground state did not converge', nelm=nelm, **slow)
            return self._abort(self.exit_codes.ERROR_NO_CONVERGENCE.format(what='ground state'))
        attempt = self._count_attempt('response')
        if attempt == 0:
            return self._restart(node, 'the response did not converge', nelm=nelm)
        if attempt == 1:
            return self._restart(node, 'the response did not converge', ediff=10 * float(tags.get('ediff', 1e-6)))
        return self._abort(self.exit_codes.ERROR_NO_CONVERGENCE.format(what='response'))


def validate_response(inputs: Any, context: Any = None) -> str | None:
    """Return why INCAR tags prevent a linear response or spoil its result, ``None`` if they do not."""
    if 'parameters' in inputs:
        incar = {key.lower(): value for key, value in inputs['parameters'].get_dict().get('incar', {}).items()}
        ionic = incar.get('ibrion') in _IONIC_IBRION
        for tag in ('ncore', 'npar'):
            if int(incar.get(tag, 1)) != 1 and (ionic or incar.get('lepsilon')):
                return f'{tag.upper()} = {incar[tag]}: not supported by the linear response of VASP; use KPAR'
        if not incar.get('lepsilon'):
            return 'LEPSILON is not set, so that VASP computes no dielectric tensor; set lepsilon to true'
        if int(incar.get('nelm', 60)) < _MIN_NELM:
            return f'NELM = {incar.get("nelm", 60)}: a linear response requires {_MIN_NELM} or more'
        if int(incar.get('ismear', 1)) > 0:
            return f'ISMEAR = {incar.get("ismear", 1)}: only for metals, which have no dielectric constant; use 0 or -5'
    message: str | None = validate_calc_job_custom(inputs, context)
    return message


class VaspResponseBaseWorkChain(VaspBaseWorkChain):
    """Linear response: a run with LEPSILON, and with IBRION = 8 for the ionic part.

    If memory or wall time are too small for the ionic part, only the electronic part is computed; ``ibrion`` of the
    last job then differs from the input.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define the validator of the inputs, and an exit code."""
        super().define(spec)
        spec.inputs.validator = validate_response
        spec.exit_code(527, 'ERROR_NO_TENSOR', message='VASP finished twice without a dielectric tensor.')

    def _without_ionic_part(self, node: orm.CalcJobNode, problem: str) -> ProcessHandlerReport | None:
        if self.ctx.inputs.parameters.get('ibrion') not in _IONIC_IBRION:
            return None
        problem = f'{problem} with IBRION = {self.ctx.inputs.parameters["ibrion"]}; electronic part only'
        return self._restart(node, problem, ibrion=-1, nsw=None)

    @process_handler(priority=1200)
    def handle_missing_dielectric_tensor(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """Restart once if neither vasprun.xml nor OUTCAR contains a dielectric tensor, then abort.

        If vasprun.xml is truncated or too large for the parser, the tensors are read from OUTCAR.
        """
        if not node.is_finished_ok:
            return None
        if 'dielectrics' in node.outputs and 'epsilon' in node.outputs.dielectrics.get_arraynames():
            return None
        if read_outcar(read_retrieved(node, 'OUTCAR')).electronic is not None:
            return None
        if self._count_attempt('tensor') == 0:
            return self._restart(node, 'no dielectric tensor in the outputs')
        return self._abort(self.exit_codes.ERROR_NO_TENSOR)
