"""Failures of the replay on request.

``GOECTP_REPLAY_FAULTS`` is a list of ``[stage:]kind[*times][@formula]``, separated by commas. Stages are ``dfpt`` (the
default), ``relax`` and ``static``. An entry applies to the first ``times`` runs (default 1) that match it; later runs
use the next entry that matches. ``formula`` is the reduced formula in alphabetical order. The runs are counted in files
in ``GOECTP_REPLAY_STATE``.

====================  =================================================================================
``electronic``        the ground state stops at NELM
``hidden``            the ground state stops at NELM, the response after it converges
``response``          the ground state converges, the response stops at NELM
``walltime``          killed by the scheduler for its time, in the middle of a loop
``memory``            killed by the system for its memory
``killed``            killed without a message
``dead``              ends at once without output
``truncated``         vasprun.xml is cut off before the tensors; OUTCAR is complete
``no_dielectrics``    complete files without tensors
``zero_ionic``        the ionic tensor is zero
``forces``            residual forces
``symmetry``          stops with POSMAP
``kpoints``           stops because the set of k points would change
``critical``          stops with BRMIX
``ionic``             killed for its memory in every run with IBRION = 8
====================  =================================================================================
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_ENTRY = re.compile(r'^(?:(?P<stage>\w+):)?(?P<kind>\w+)(?:\*(?P<times>\d+))?(?:@(?P<formula>\w+))?$')


def next_fault(stage: str, formula: str, ionic: bool) -> str:
    """Return the fault of this run, '' for none, and count it."""
    text = os.environ.get('GOECTP_REPLAY_FAULTS', '')
    for index, entry in enumerate(part.strip() for part in text.split(',') if part.strip()):
        found = _ENTRY.match(entry)
        if found is None:
            raise SystemExit(f'replay: GOECTP_REPLAY_FAULTS: {entry!r} has not the form [stage:]kind[*times][@formula]')
        if (found['stage'] or 'dfpt') != stage or found['formula'] not in (None, formula):
            continue
        if found['kind'] == 'ionic':
            if ionic:
                return 'memory'
            continue
        if _count(f'{index}-{formula}') < int(found['times'] or 1):
            _count(f'{index}-{formula}', add=1)
            return found['kind']
    return ''


def _count(name: str, add: int = 0) -> int:
    path = Path(os.environ['GOECTP_REPLAY_STATE']) / name
    value = int(path.read_text()) if path.exists() else 0
    if add:
        path.write_text(str(value + add))
    return value
