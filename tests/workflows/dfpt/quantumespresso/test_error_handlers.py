"""Table of the error handlers: selection, exit codes, documentation."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiida.plugins import CalculationFactory

from aiida_goectp.workflows.dfpt.quantumespresso.error_handlers import ERROR_HANDLERS, select_handler

PAGE = Path(__file__).parents[4] / 'docs' / 'reference' / 'dfpt-quantumespresso.md'


def test_each_handler_is_selected_once():
    tried = []
    while (handler := select_handler('ph', 312, tried)) is not None:
        tried.append(handler.name)
    assert tried == ['ph_interrupted_recover', 'ph_interrupted_restart']
    assert len({handler.name for handler in ERROR_HANDLERS}) == len(ERROR_HANDLERS)


@pytest.mark.parametrize(('stage', 'status'), [('scf', 999), ('ph', None), ('scf', 400)])
def test_other_errors_have_no_handler(stage, status):
    assert select_handler(stage, status, []) is None


def test_exit_codes_exist():
    pytest.importorskip('aiida_quantumespresso')
    for handler in ERROR_HANDLERS:
        jobs = {'scf': ['pw'], 'ph': ['ph', 'pw']}[handler.stage]  # both stages share the codes of an interrupted job
        known = {
            code.status
            for job in jobs
            for code in CalculationFactory(f'quantumespresso.{job}').spec().exit_codes.values()
        }
        assert set(handler.statuses) <= known


def test_documented_table_is_complete():
    starts = {'scratch': 'from scratch', 'recover': 'from the files of the failed run', 'scf': 'from the ground state'}
    rows = [
        f'| `{handler.name}` | {dict(scf="pw.x", ph="ph.x")[handler.stage]}: {", ".join(map(str, handler.statuses))} '
        f'| {handler.error} | {handler.action} | {starts[handler.restart]} |'
        for handler in ERROR_HANDLERS
    ]
    lines = PAGE.read_text(encoding='utf-8').splitlines()
    assert [line for line in lines if line.startswith(('| `scf_', '| `ph_'))] == rows
