"""Builder of the Quantum ESPRESSO engine without its plugin or without pseudopotentials."""

from __future__ import annotations

import sys

import pytest

from aiida_goectp.workflows.dfpt.quantumespresso.workchain import QuantumEspressoDfptWorkChain, require_quantumespresso
from tests.workflows.dfpt.quantumespresso.quantum_espresso import rocksalt


def test_missing_plugin_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'aiida_quantumespresso.workflows.pw.base', None)
    monkeypatch.delitem(sys.modules, 'aiida_goectp.workflows.dfpt.quantumespresso.pw', raising=False)
    with pytest.raises(ImportError, match=r'aiida-goectp\[quantumespresso\]'):
        require_quantumespresso()


def test_missing_family_is_named(aiida_profile, aiida_localhost, aiida_code_installed):
    pytest.importorskip('aiida_quantumespresso')
    codes = {
        f'{name}_code': aiida_code_installed(
            label=f'{name}-x', filepath_executable='/bin/true', default_calc_job_plugin=f'quantumespresso.{name}'
        )
        for name in ('pw', 'ph')
    }
    with pytest.raises(ValueError, match="'not-installed'"):
        QuantumEspressoDfptWorkChain.get_builder_from_protocol(
            **codes, structure=rocksalt('Li', 'F', 4.01), pseudo_family='not-installed'
        )
