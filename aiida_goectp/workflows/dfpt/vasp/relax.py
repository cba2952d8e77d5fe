"""Relaxation with VASP: ``VaspRelaxWorkChain`` of aiida-vasp, restarted if forces remain."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.common import AttributeDict
from aiida.engine import ProcessHandlerReport, ToContext, process_handler, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida_vasp.workchains.v2.relax import VaspRelaxWorkChain

from aiida_goectp.workflows.aiida_private import NamedStepFailureMixin, RestartMixin
from aiida_goectp.workflows.dfpt.vasp.handlers import VaspBaseWorkChain
from aiida_goectp.workflows.dfpt.vasp.structures import with_kinds_of
from aiida_goectp.workflows.submit_once import CalledOnceMixin

__all__ = ('VaspRelaxBaseWorkChain', 'VaspRelaxWithHandlersWorkChain')


class VaspRelaxWithHandlersWorkChain(CalledOnceMixin, NamedStepFailureMixin, VaspRelaxWorkChain):
    """``VaspRelaxWorkChain`` with the error handlers of :class:`.VaspBaseWorkChain`, and the same kinds in all runs."""

    _base_workchain = VaspBaseWorkChain

    def run_relax(self) -> ToContext:
        """Run the next relaxation, with the kinds of the input structure."""
        self.ctx.current_structure = with_kinds_of(self.ctx.current_structure, self.inputs.structure)
        return super().run_relax()

    def run_static_calculation(self) -> ToContext:
        """Run the final static calculation, with the kinds of the input structure."""
        self.ctx.current_structure = with_kinds_of(self.ctx.current_structure, self.inputs.structure)
        return super().run_static_calculation()


class VaspRelaxBaseWorkChain(CalledOnceMixin, NamedStepFailureMixin, RestartMixin):
    """Relaxation until the forces are small in the plane-wave basis of the final cell.

    VASP keeps the basis of the initial cell, so that a cell which changed much is not relaxed in its own basis. The
    last run of ``VaspRelaxWorkChain`` detects this and fails; it is then restarted from its last structure.
    """

    _process_class = VaspRelaxWithHandlersWorkChain

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:  # type: ignore[override]
        """Define inputs, outline, outputs and exit codes."""
        super().define(spec)
        spec.expose_inputs(VaspRelaxWithHandlersWorkChain)
        spec.expose_outputs(VaspRelaxWithHandlersWorkChain)
        steps: Any = cls  # the type hints of aiida-core reject steps of a subclass
        spec.outline(
            steps.setup,
            while_(steps.should_run_process)(
                steps.run_process,
                steps.inspect_process,
            ),
            steps.results,
        )
        spec.exit_code(541, 'ERROR_FORCES_LEFT', message='Forces remain after {number} relaxations: {message}')
        spec.exit_code(542, 'ERROR_RELAXATION', message='{message}')

    def setup(self) -> None:
        """Initialise the inputs and the count of attempts."""
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(VaspRelaxWithHandlersWorkChain))
        self.ctx.attempts = 0

    @process_handler(priority=600)
    def handle_residual_forces(self, node: orm.WorkChainNode) -> ProcessHandlerReport | None:
        """Restart from the last structure if forces remain or the cell is not converged.

        The second restart uses the other optimiser and a tenth of EDIFF; after that, abort.
        """
        codes = VaspRelaxWorkChain.spec().exit_codes
        if node.exit_status not in (
            codes.ERROR_RELAX_NOT_CONVERGED.status,
            codes.ERROR_FINAL_SCF_HAS_RESIDUAL_FORCE.status,
        ):
            return None
        self.ctx.attempts += 1
        if self.ctx.attempts > 2 or 'relax' not in node.outputs:
            code = self.exit_codes.ERROR_FORCES_LEFT
            return ProcessHandlerReport(True, code.format(number=self.ctx.attempts, message=node.exit_message))
        self.ctx.inputs.structure = with_kinds_of(node.outputs.relax.structure, self.inputs.structure)
        change = ''
        if self.ctx.attempts == 2:
            settings = self.ctx.inputs.relax_settings.get_dict()
            settings['algo'] = 'rd' if settings.get('algo', 'cg') == 'cg' else 'cg'
            self.ctx.inputs.relax_settings = orm.Dict(
                settings
            ).store()  # nested nodes must be stored for the checkpoint
            parameters = self.ctx.inputs.vasp.parameters.get_dict()
            parameters['incar']['ediff'] = float(parameters['incar'].get('ediff', 1e-6)) / 10
            self.ctx.inputs.vasp.parameters = orm.Dict(parameters).store()
            change = f' with optimiser {settings["algo"]} and EDIFF = {parameters["incar"]["ediff"]:g}'
        self.report(f'{node.process_label}<{node.pk}>: {node.exit_message}; restart from its last structure{change}')
        return ProcessHandlerReport(True)

    @process_handler(priority=100)
    def handle_unrecoverable_failure(self, node: orm.WorkChainNode) -> ProcessHandlerReport | None:
        """Abort after any other error, which the handlers of the runs could not correct."""
        if node.is_finished_ok:
            return None
        message = f'[{node.exit_status}] {node.exit_message}'
        return ProcessHandlerReport(True, self.exit_codes.ERROR_RELAXATION.format(message=message))
