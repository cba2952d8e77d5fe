"""The Quantum ESPRESSO engine keeps the interface of DFPT engines, with the real pw.x and ph.x."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_goectp.workflows.dfpt.conformance import check_engine, check_failure
from aiida_goectp.workflows.dfpt.quantumespresso.workchain import QuantumEspressoDfptWorkChain
from tests.workflows.dfpt.quantumespresso.quantum_espresso import CHEAP, FCC, ROCKSALT, crystal

STRAIN = np.array([[1.0, 0.05, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.2]])


@pytest.fixture
def structure(aiida_profile):
    """Lithium fluoride, sheared and stretched: two atoms and an anisotropic tensor."""
    return crystal(('Li', 'F'), FCC * 4.01 @ STRAIN, ROCKSALT).store()


@pytest.mark.slow
def test_engine_conforms(codes, generated_family, structure):
    arguments = {**codes(), 'pseudo_family': generated_family, 'overrides': CHEAP}
    node = check_engine(QuantumEspressoDfptWorkChain, structure, arguments)
    assert QuantumEspressoDfptWorkChain.core_hours(node) > 0


def test_failed_ground_state_ends_with_its_exit_code(codes, generated_family, structure):
    arguments = {**codes(pw='exit 1'), 'pseudo_family': generated_family, 'overrides': CHEAP}
    node = check_failure(QuantumEspressoDfptWorkChain, structure, arguments)
    assert node.exit_status == QuantumEspressoDfptWorkChain.exit_codes.ERROR_SCF_FAILED.status
