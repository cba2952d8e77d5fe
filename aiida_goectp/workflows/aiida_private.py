"""Private API of aiida-core that this package uses, with the reason for each. Check these after an upgrade of AiiDA."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ProcessState, WorkChain
from aiida.engine.processes.builder import ProcessBuilderNamespace

__all__ = ('ResumeAfterEachChildMixin', 'builder_inputs', 'clean_remote_folder')


def builder_inputs(builder: ProcessBuilderNamespace) -> dict[str, Any]:
    """Return the inputs of a builder as nested dictionaries, without empty namespaces.

    Reason: a work chain submits another process with a dictionary of inputs, while the protocols of aiida-vasp and
    aiida-quantumespresso return builders. ``ProcessBuilderNamespace`` has no public method that leaves out the empty
    namespaces, which are invalid where a namespace is optional.
    """
    inputs: dict[str, Any] = builder._inputs(prune=True)
    return inputs


def clean_remote_folder(folder: orm.RemoteData) -> None:
    """Remove the content of the working directory of a job.

    Reason: aiida-core has no public method for it; its own ``BaseRestartWorkChain`` calls the same private one.

    :raises OSError: the directory does not exist or cannot be reached
    """
    folder._clean()


class ResumeAfterEachChildMixin(WorkChain):
    """Work chain that executes its next step as soon as one of its children has terminated.

    Reason: aiida-core resumes a work chain when all children that it waits for have terminated. With that, a slow
    calculation would keep the next one from starting. Each step must pass all running children to ``to_context``.
    """

    def _on_awaitable_finished(self, awaitable: Any) -> None:
        """Resolve a child that has terminated and resume.

        Since each step waits anew for the children that are running, aiida-core may report a child more than once; only
        a child that is waited for counts.
        """
        current = next((item for item in self._awaitables if item.pk == awaitable.pk), None)
        if current is None:
            return
        super()._on_awaitable_finished(current)
        if self.state == ProcessState.WAITING and self._awaitables:
            self.resume()
