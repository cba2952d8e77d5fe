"""How the replay fails on request.

``GOECTP_REPLAY_FAULTS`` is a list of ``[stage:]kind[*times][@formula]``, separated by commas. Stages are ``dfpt`` (the
default), ``relax``, ``static``. An entry is used up after so many runs (1 unless told), then the next one that fits has
its turn. ``formula`` is a reduced one in alphabetical order. The count is kept in files in ``GOECTP_REPLAY_STATE``.

====================  =================================================================================
``electronic``        the ground state stops at NELM
``hidden``            the ground state stops at NELM, the response after it converges
``response``          the ground state converges, the response stops at NELM
``walltime``          killed by the scheduler for its time, in the middle of a loop
``memory``            killed by the system for its memory
``killed``            killed without a word
``dead``              ends at once and leaves no output
``truncated``         vasprun.xml is cut off before the tensors; OUTCAR is whole
``no_dielectrics``    everything is whole, no tensor anywhere
``zero_ionic``        the ionic tensor is zero
``forces``            forces are left
``symmetry``          POSMAP
``kpoints``           a change of the set of k points is asked for
``critical``          BRMIX
``ionic``             killed for its memory if IBRION is 8, whatever the count
====================  =================================================================================
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_ENTRY = re.compile(r'^(?:(?P<stage>\w+):)?(?P<kind>\w+)(?:\*(?P<times>\d+))?(?:@(?P<formula>\w+))?$')


def next_fault(stage: str, formula: str, ionic: bool) -> str:
    """The fault of this run, '' for none; counts it."""
    text = os.environ.get('GOECTP_REPLAY_FAULTS', '')
    for index, entry in enumerate(part.strip() for part in text.split(',') if part.strip()):
        found = _ENTRY.match(entry)
        if found is None:
            raise SystemExit(f'replay: GOECTP_REPLAY_FAULTS: {entry!r} is no fault')
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
