"""Processes that run in the interpreter of the command line."""

from __future__ import annotations

import os
import signal

import pytest
from aiida.engine import WorkChain

from aiida_goectp.cli.views.progress import run_and_report


class InterruptedWorkChain(WorkChain):
    """Receives a signal in its first step, with a child that has not ended."""

    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.outline(cls.receive)

    def receive(self):
        self.to_context(child=self.submit(WaitingWorkChain))
        os.kill(os.getpid(), signal.SIGTERM)


class WaitingWorkChain(WorkChain):
    """Does nothing."""


def test_a_signal_ends_the_run_with_the_processes_that_are_left(aiida_profile, capsys):
    builder = InterruptedWorkChain.get_builder()
    with pytest.raises(SystemExit) as raised:
        run_and_report(builder)
    assert raised.value.code == 1
    text = capsys.readouterr().err
    assert 'interrupted; process' in text
    assert 'Traceback' not in text
