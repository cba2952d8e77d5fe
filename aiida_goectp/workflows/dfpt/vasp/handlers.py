"""Runs of VASP that get over what goes wrong: ``vasp.vasp`` of aiida-vasp with handlers for linear response."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_vasp.calcs.vasp import VaspCalculation
from aiida_vasp.workchains.v2.vasp import VaspWorkChain, validate_calc_job_custom

from aiida_goectp.core.dielectric.outcar import read_loops, read_outcar, refusal, resource_problem, symmetry_problem

__all__ = ('VaspBaseWorkChain', 'VaspResponseBaseWorkChain', 'validate_response')

_CODES = VaspCalculation.spec().exit_codes
_DIED = frozenset(
    {
        _CODES.ERROR_NO_RETRIEVED_FOLDER.status,
        _CODES.ERROR_CRITICAL_MISSING_OBJECT.status,
        _CODES.ERROR_DID_NOT_FINISH.status,
        _CODES.ERROR_NOT_ABLE_TO_PARSE_QUANTITY.status,
        _CODES.ERROR_SCHEDULER_OUT_OF_MEMORY.status,
        _CODES.ERROR_SCHEDULER_OUT_OF_WALLTIME.status,
    }
)
_UNSTABLE = ('EDDDAV', 'EDDAV', 'EDDRMM', 'ZHEGV', 'BRMIX', 'CNORMN', 'DENMP', 'not Hermitian', 'Hermitian in DAV')
_SMALLEST_NELM = 200
_IONIC = (7, 8)


class VaspBaseWorkChain(VaspWorkChain):
    """``vasp.vasp`` of aiida-vasp with remedies for symmetry, wall time, memory, death and the electrons.

    The handlers of aiida-vasp stay in force below these; they never see what these have dealt with.
    """

    defaults = AttributeDict(
        {
            'symprec': 1e-8,  # VASP's own is 1e-5
            'nearly': 0.95,  # of its wall time; a job that died after this much of it died of it
            'nelm': 400,
            'deaths': 2,  # without a word, before something is given up
        }
    )

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Add the limit of the wall time, and the exit codes."""
        super().define(spec)
        spec.input(
            'max_wallclock_seconds',
            valid_type=orm.Int,
            default=lambda: orm.Int(7 * 24 * 3600),
            serializer=orm.to_aiida_type,
            help='The longest wall time in seconds that a second attempt may ask for.',
        )
        spec.exit_code(521, 'ERROR_REFUSED_BY_VASP', message='VASP refuses to continue: {message}')
        spec.exit_code(522, 'ERROR_SYMMETRY', message='No setting helps against the symmetry error: {message}')
        spec.exit_code(523, 'ERROR_NO_CONVERGENCE', message='The {what} did not converge, whatever was tried.')
        spec.exit_code(524, 'ERROR_WALLTIME', message='{seconds} s do not suffice; give more cores or a higher limit.')
        spec.exit_code(525, 'ERROR_MEMORY', message='The memory does not suffice; give more nodes.')
        spec.exit_code(526, 'ERROR_DIED', message='VASP died {number} times without saying why.')

    def setup(self) -> None:
        """Begin with nothing tried."""
        super().setup()
        self.ctx.tried = {'symmetry': 0, 'ground state': 0, 'response': 0, 'deaths': 0, 'tensors': 0}

    # What happened

    def _said(self, node: orm.CalcJobNode) -> str:
        """Return all that VASP, the system and the scheduler wrote on their streams."""
        names = (VaspCalculation._VASP_OUTPUT, node.get_option('scheduler_stderr'), node.get_option('scheduler_stdout'))
        return '\n'.join(_file(node, name) for name in names if name)

    def _want(self, node: orm.CalcJobNode) -> str | None:
        """Return what the job died for want of, ``time`` or ``memory``; ``None`` if it did not, or nobody knows."""
        if node.exit_status not in _DIED:
            return None
        if node.exit_status == _CODES.ERROR_SCHEDULER_OUT_OF_WALLTIME.status:
            return 'time'
        if node.exit_status == _CODES.ERROR_SCHEDULER_OUT_OF_MEMORY.status:
            return 'memory'
        said = resource_problem(self._said(node))
        if said:
            return said
        info, asked = node.get_last_job_info(), node.get_option('max_wallclock_seconds')
        if info is None or not info.wallclock_time_seconds or not asked:
            return None
        return 'time' if info.wallclock_time_seconds >= self.defaults.nearly * asked else None

    # What is done

    def _again(self, node: orm.CalcJobNode, problem: str, **tags: Any) -> ProcessHandlerReport:
        """Change tags of the INCAR (``None`` takes one away) and start anew."""
        for tag, value in tags.items():
            if value is None:
                self.ctx.inputs.parameters.pop(tag, None)
            else:
                self.ctx.inputs.parameters[tag] = value
        changes = ', '.join(f'{tag.upper()} = {"default" if value is None else value}' for tag, value in tags.items())
        self.report(f'{node.process_label}<{node.pk}>: {problem}; again{" with " + changes if changes else ""}')
        return ProcessHandlerReport(True)

    def _give_up(self, code: ExitCode) -> ProcessHandlerReport:
        self.report(code.message or 'giving up')
        return ProcessHandlerReport(True, code)

    def _give_way(self, node: orm.CalcJobNode, problem: str) -> ProcessHandlerReport | None:
        """Do without the costliest part, if there is one to be done without."""
        return None

    def _step(self, name: str) -> int:
        """Return how often this was tried before, and count it."""
        before = int(self.ctx.tried[name])
        self.ctx.tried = {**self.ctx.tried, name: before + 1}
        return before

    @process_handler(priority=1500)
    def handle_symmetry(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """VASP found no consistent symmetry: a tighter SYMPREC, then ISYM = 0.

        The change of the k points that a linear response asks for is cured by ISYM = 0 at once. Without symmetry the
        response costs more, the numbers stay.
        """
        if node.is_finished_ok or self._want(node) is not None:  # some of these messages are warnings alone
            return None
        problem = symmetry_problem(self._said(node))
        if problem is None:
            return None
        step = self._step('symmetry')
        off = {'isym': 0, 'symprec': None, 'ncore': None, 'npar': None}
        if 'change of the k-point set' in problem:
            step += 1
        if step == 0:
            return self._again(node, problem, symprec=self.defaults.symprec)
        if self.ctx.inputs.parameters.get('isym') != 0:
            return self._again(node, problem, **off)
        return self._give_up(self.exit_codes.ERROR_SYMMETRY.format(message=problem))

    @process_handler(priority=1450)
    def handle_refusal(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """VASP says that it will not go on, and why: give up, it would say so again."""
        message = None if node.is_finished_ok else refusal(self._said(node))
        return None if message is None else self._give_up(self.exit_codes.ERROR_REFUSED_BY_VASP.format(message=message))

    @process_handler(priority=1400)
    def handle_walltime(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """The wall time ran out: twice as much, up to the limit; a relaxation goes on from its last geometry.

        At the limit a response does without its ionic part; anything else is given up.
        """
        if self._want(node) != 'time':
            return None
        options = self.ctx.inputs.metadata['options']
        seconds = int(options.get('max_wallclock_seconds') or self.inputs.max_wallclock_seconds.value)
        more = min(2 * seconds, self.inputs.max_wallclock_seconds.value)
        if more <= seconds:
            code = self.exit_codes.ERROR_WALLTIME.format(seconds=seconds)
            return self._give_way(node, f'{seconds} s do not suffice') or self._give_up(code)
        options['max_wallclock_seconds'] = more
        if self.ctx.inputs.parameters.get('nsw', 0) > 1 and 'structure' in node.outputs:
            self.ctx.inputs.structure = node.outputs.structure
        return self._again(node, f'stopped after {seconds} s; now {more} s')

    @process_handler(priority=1390)
    def handle_memory(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """The memory did not suffice: KPAR = 1, which keeps a single copy of everything.

        A response then does without its ionic part; anything else is given up.
        """
        if self._want(node) != 'memory':
            return None
        if int(self.ctx.inputs.parameters.get('kpar', 1)) > 1:
            return self._again(node, 'out of memory', kpar=1)
        return self._give_way(node, 'out of memory') or self._give_up(self.exit_codes.ERROR_MEMORY)

    @process_handler(priority=1380)
    def handle_death(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """VASP died and nobody says why: once more, since a node may have failed.

        A response that dies again does without its ionic part; anything else is given up.
        """
        if node.exit_status not in _DIED:
            return None
        deaths = self._step('deaths') + 1
        if deaths < self.defaults.deaths:
            if self.ctx.inputs.parameters.get('nsw', 0) > 1 and 'structure' in node.outputs:
                self.ctx.inputs.structure = node.outputs.structure
            return self._again(node, 'died without saying why')
        code = self.exit_codes.ERROR_DIED.format(number=deaths)
        return self._give_way(node, f'died {deaths} times without saying why') or self._give_up(code)

    @process_handler(priority=1300)
    def handle_electrons(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """A self-consistency loop did not reach EDIFF, or its solver broke down.

        The ground state: ALGO = All and a higher NELM, then ALGO = Normal with slow mixing. The response: a higher
        NELM, then ten times EDIFF. The parser's own verdict counts only where OUTCAR says nothing: it takes the
        iterations of the response for those of the ground state.
        """
        loops = [loop.converged for loop in read_loops(_file(node, 'OUTCAR').splitlines())]
        asked = self.ctx.inputs.parameters
        if asked.get('nsw', 0) > 1 and node.exit_status != _CODES.ERROR_ELECTRONIC_NOT_CONVERGED.status:
            loops = []  # a relaxation may cut a loop short on its way
        broken = node.exit_status == _CODES.ERROR_VASP_CRITICAL_ERROR.status and any(
            word in f'{node.exit_message} {self._said(node)}' for word in _UNSTABLE
        )
        failed = node.exit_status == _CODES.ERROR_ELECTRONIC_NOT_CONVERGED.status and not loops
        if not (broken or failed or not all(loops)):
            return None
        nelm = max(2 * int(asked.get('nelm', 60)), self.defaults.nelm)
        if broken or failed or not loops[0] or not asked.get('lepsilon'):
            step = self._step('ground state')
            if step == 0:
                return self._again(node, 'the ground state did not converge', algo='all', nelm=nelm)
            if step == 1:
                slow = {'algo': 'normal', 'amix': 0.1, 'bmix': 0.01}
                return self._again(node, 'the ground state did not converge', nelm=nelm, **slow)
            return self._give_up(self.exit_codes.ERROR_NO_CONVERGENCE.format(what='ground state'))
        step = self._step('response')
        if step == 0:
            return self._again(node, 'the response did not converge', nelm=nelm)
        if step == 1:
            return self._again(node, 'the response did not converge', ediff=10 * float(asked.get('ediff', 1e-6)))
        return self._give_up(self.exit_codes.ERROR_NO_CONVERGENCE.format(what='response'))


def validate_response(inputs: Any, context: Any = None) -> str | None:
    """Refuse what makes a linear response fail or its result worthless, before it costs anything."""
    if 'parameters' in inputs:
        incar = {key.lower(): value for key, value in inputs['parameters'].get_dict().get('incar', {}).items()}
        ionic = incar.get('ibrion') in _IONIC
        for tag in ('ncore', 'npar'):
            if int(incar.get(tag, 1)) != 1 and (ionic or incar.get('lepsilon')):
                return f'{tag.upper()} = {incar[tag]}: the linear response of VASP knows no such parallelism; use KPAR'
        if not incar.get('lepsilon'):
            return 'LEPSILON is not set: there would be no dielectric tensor'
        if int(incar.get('nelm', 60)) < _SMALLEST_NELM:
            return f'NELM = {incar.get("nelm", 60)}: a response needs {_SMALLEST_NELM} or more'
        if int(incar.get('ismear', 1)) > 0:
            return f'ISMEAR = {incar.get("ismear", 1)} is for metals, which have no dielectric constant; use 0 or -5'
    message: str | None = validate_calc_job_custom(inputs, context)
    return message


class VaspResponseBaseWorkChain(VaspBaseWorkChain):
    """A run with LEPSILON, with IBRION = 8 for the ionic part.

    If the ionic part is too large for memory or wall time, the electronic part is computed alone; the INCAR of the last
    job (``ibrion``) then differs from what was asked for.
    """

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        """Refuse parameters that a response cannot have."""
        super().define(spec)
        spec.inputs.validator = validate_response
        spec.exit_code(527, 'ERROR_NO_TENSOR', message='VASP ended well, but wrote no dielectric tensor, twice.')

    def _give_way(self, node: orm.CalcJobNode, problem: str) -> ProcessHandlerReport | None:
        if self.ctx.inputs.parameters.get('ibrion') not in _IONIC:
            return None
        message = f'{problem}: IBRION = {self.ctx.inputs.parameters["ibrion"]} is too large, the electronic part alone'
        return self._again(node, message, ibrion=-1, nsw=None)

    @process_handler(priority=1200)
    def handle_missing_tensor(self, node: orm.CalcJobNode) -> ProcessHandlerReport | None:
        """VASP ended well, but wrote no tensor, neither into vasprun.xml nor into OUTCAR: once more, then give up.

        A vasprun.xml that is cut off or too large is no problem: the tensors are then taken from OUTCAR.
        """
        if not node.is_finished_ok:
            return None
        if 'dielectrics' in node.outputs and 'epsilon' in node.outputs.dielectrics.get_arraynames():
            return None
        if read_outcar(_file(node, 'OUTCAR')).electronic is not None:
            return None
        if self._step('tensors') == 0:
            return self._again(node, 'no dielectric tensor in the outputs')
        return self._give_up(self.exit_codes.ERROR_NO_TENSOR)


def _file(node: orm.CalcJobNode, name: str) -> str:
    """Return a retrieved text file; empty if it is not there."""
    if 'retrieved' not in node.outputs:
        return ''
    repository = node.outputs.retrieved.base.repository
    if name not in repository.list_object_names():
        return ''
    content: bytes = repository.get_object_content(name, mode='rb')
    return content.decode(errors='replace')
