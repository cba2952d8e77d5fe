"""Jobs with a given exit code, and executables with an injected fault, for the tests of restarts."""

from __future__ import annotations

from aiida import orm
from aiida.common.links import LinkType
from plumpy import ProcessState


def end_job(process, computer, entry_point, code, **outputs):
    """Add a job with an exit code to a work chain, and execute ``inspect_process``."""
    node = orm.CalcJobNode(computer=computer, process_type=f'aiida.calculations:{entry_point}').store()
    outputs = {'remote_folder': orm.RemoteData(computer=computer, remote_path='/nowhere'), **outputs}
    for name, output in outputs.items():
        output.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label=name)
        output.store()
    node.set_process_state(ProcessState.FINISHED)
    node.set_exit_status(code.status)
    node.set_exit_message(code.message)
    process.ctx.children.append(node)
    process.ctx.iteration = len(process.ctx.children)
    return node, process.inspect_process()


def faulty_once(code, fault, folder, aiida_code_installed):
    """Return a code whose first job has an injected fault."""
    script = folder / 'goectp-with-a-fault'
    script.write_text(
        f'#!/bin/bash\nif [ ! -e {folder}/once ]; then touch {folder}/once; '
        f'export GOECTP_TEST_FAULT={fault}; fi\nexec {code.filepath_executable} "$@"\n'
    )
    script.chmod(0o755)
    return aiida_code_installed(label=f'fault-{folder.name}', filepath_executable=str(script))


def raise_before_submission(monkeypatch, calculation, times):
    """Let the first jobs of a class raise an exception before they are submitted to the scheduler."""
    prepare, left = calculation.prepare_for_submission, list(range(times))

    def fail(self, folder):
        if left:
            left.pop()
            raise RuntimeError('Connection was not opened')
        return prepare(self, folder)

    monkeypatch.setattr(calculation, 'prepare_for_submission', fail)


def jobs_of(node):
    """Return the jobs that a work chain started, oldest first."""
    return sorted(node.called, key=lambda job: job.pk)
