"""Check of parameters of ``pw.x`` and ``ph.x``, and of the charge and the magnetism of the crystal.

The programs refuse an unknown variable themselves: ``pw.x`` when it starts, ``ph.x`` only after the ground state was
computed. Here every unknown variable of ``ph.x`` is refused before a job is submitted. The variables of ``pw.x`` are
those that aiida-quantumespresso lists for a version that may be older than the program; therefore only a variable that
resembles one of them is refused. Values must have the type of their variable. Occupations and number of bands follow
from the electrons and the spin.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from aiida import orm

from aiida_goectp.core.formats.settings import unknown_key
from aiida_goectp.workflows.dfpt.magnetism import magnetic_elements
from aiida_goectp.workflows.dfpt.quantumespresso.parameter_values import (
    cutoff_errors,
    newest_pw_description,
    value_error,
)
from aiida_goectp.workflows.protocols.mixin import merge

__all__ = (
    'electrons_errors',
    'ground_state_errors',
    'magnetism_error',
    'occupations',
    'ph_errors',
    'pw_errors',
    'validate_electrons',
)

_NAMELISTS = ('CONTROL', 'SYSTEM', 'ELECTRONS', 'IONS', 'CELL', 'FCP', 'RISM')
_RESEMBLANCE = 0.88
"""smallest ratio of ``difflib`` at which a variable is a misspelt one"""
_EMPTY_BANDS = 2
"""above the occupied ones, for the gap"""
_INPUTPH = frozenset(
    """
    ahc_dir ahc_nbnd ahc_nbndskip alpha_mix amass asr dek dftd3_hess diagonalization do_charge_neutral do_long_range
    drho_star dvscf_star el_ph_nsigma el_ph_sigma electron_phonon elop epsil eth_ns eth_rps fildrho fildvscf fildyn fpol
    k1 k2 k3 last_irr last_q ldiag ldisp ldvscf_interpolate lnoloc low_directory_check lqdir lraman lrpa lshift_q
    max_seconds modenum nat_todo niter_ph nk1 nk2 nk3 nmix_ph nogg nq1 nq2 nq3 only_init only_wfc outdir prefix q2d
    q_in_band_form qplot read_dns_bare recover reduce_io search_sym skip_upper start_irr start_q title tr2_ph trans
    verbosity wpot_dir zeu zue
    """.split()  # noqa: SIM905
)
"""variables of INPUT_PH, Quantum ESPRESSO 7"""


@cache
def _pw_variables() -> frozenset[str]:
    """Return the variables in the newest description of the input of ``pw.x`` in aiida-quantumespresso."""
    items = newest_pw_description().iter()
    return frozenset(str(item.get('name')) for item in items if item.tag in ('var', 'dimension'))


def pw_errors(place: str, value: Any) -> Iterator[str]:
    """Yield the errors in parameters of ``pw.x``."""
    yield from _errors(place, value, _NAMELISTS, _pw_variables(), _RESEMBLANCE)


def ph_errors(place: str, value: Any) -> Iterator[str]:
    """Yield the errors in parameters of ``ph.x``."""
    yield from _errors(place, value, ('INPUTPH',), _INPUTPH, 0.0)


def _errors(
    place: str, value: Any, namelists: Collection[str], variables: Collection[str], resemblance: float
) -> Iterator[str]:
    content = value.get_dict() if isinstance(value, orm.Dict) else value
    if not isinstance(content, Mapping):
        yield f'{place}: expected a mapping of namelists; found {content!r}'
        return
    lower = {name.lower() for name in variables}
    for namelist, entries in content.items():
        if namelist not in namelists:
            yield unknown_key(f'{place}.{namelist}', namelists, 'namelist')
        elif not isinstance(entries, Mapping):
            yield f'{place}.{namelist}: expected a mapping of variables; found {entries!r}'
        else:
            for name, entry in entries.items():
                plain, where = str(name).partition('(')[0].strip().lower(), f'{place}.{namelist}.{name}'
                if plain not in lower and get_close_matches(plain, lower, n=1, cutoff=resemblance):
                    yield unknown_key(where, sorted(variables), 'variable')
                elif error := value_error(where, plain, entry):
                    yield error


def ground_state_errors(place: str, value: Any) -> Iterator[str]:
    """Yield the errors in parameters of ``pw.x`` for the ground state."""
    content = value.get_dict() if isinstance(value, orm.Dict) else value
    errors = list(pw_errors(place, content))
    yield from errors
    if not errors:
        yield from cutoff_errors(place, _system(content))
        yield from electrons_errors(place, content)


def electrons_errors(place: str, parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error for a charged cell, and for two spins without the moment that fixed occupations require.

    :param place: of the parameters, for messages
    :param parameters: of ``pw.x``, by namelist
    """
    system = _system(parameters)
    if charge := system.get('tot_charge', 0):
        yield (
            f'{place}.SYSTEM.tot_charge: {charge!r}, but a charged cell, with the uniform background that makes it '
            'neutral, has no dielectric tensor of a crystal; allowed is 0, so remove it, or compute a neutral crystal'
        )
    is_fixed = system.get('occupations', 'fixed') == 'fixed'
    if system.get('nspin', 1) == 2 and is_fixed and system.get('tot_magnetization') is None:
        yield (
            f'{place}.SYSTEM.tot_magnetization: missing, but pw.x requires it with nspin = 2 and fixed occupations; '
            'give the moment of the cell in Bohr magnetons, 0 for an antiferromagnet'
        )


def validate_electrons(inputs: Any, _: Any = None) -> str | None:
    """Return an error if the cell is charged, or may be magnetic without a treatment of the spin.

    This is the validator of the inputs of the engine.
    """
    if 'structure' not in inputs or 'parameters' not in inputs.get('scf', {}).get('pw', {}):
        return None  # the validation of the single ports names what is missing
    parameters = inputs['scf']['pw']['parameters'].get_dict()
    errors = list(electrons_errors('scf.pw.parameters', parameters))
    if not errors and 'relax_parameters' in inputs and ('relax' not in inputs or inputs['relax'].value):
        changed = merge(parameters, inputs['relax_parameters'].get_dict())
        errors = list(electrons_errors('relax_parameters', changed))
    nonmagnetic = 'nonmagnetic' in inputs and inputs['nonmagnetic'].value
    if error := magnetism_error(inputs['structure'], parameters, nonmagnetic):
        errors.append(error)
    return '; '.join(errors) or None


def magnetism_error(structure: orm.StructureData, parameters: Mapping[str, Any], nonmagnetic: bool) -> str | None:
    """Return an error for elements with magnetic moments, unless the user states that there are none, or sets the spin.

    Without spin, a magnetic crystal with an even number of electrons can become an insulator that passes all gates.

    :param parameters: of ``pw.x``, by namelist
    """
    system, found = _system(parameters), magnetic_elements(structure)
    if not found or nonmagnetic or system.get('nspin', 1) != 1 or system.get('noncolin', False):
        return None
    return (
        f'structure: {", ".join(found)} in {structure.get_formula()} may be magnetic, and this engine computes without '
        'spin; use the engine vasp, or set nonmagnetic to true in the overrides if the crystal has no magnetic moments'
    )


def _system(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the namelist SYSTEM with names in lower case, as aiida-quantumespresso writes them."""
    return {
        str(name).lower(): value
        for namelist, entries in parameters.items()
        if str(namelist).upper() == 'SYSTEM'
        for name, value in entries.items()
    }


def occupations(electrons: float, system: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return occupations and number of bands of an insulator, ``None`` if it is a metal by its number of electrons.

    A band holds two electrons without spin, and one of each spin with ``nspin = 2``, where up and down differ by
    ``tot_magnetization`` in electrons; a noncollinear band (``noncolin``, or ``nspin = 4``) holds one.

    :param electrons: valence electrons of the cell
    :param system: SYSTEM namelist of ``pw.x``
    :return: ``occupations`` and ``nbnd``; ``None`` for an odd number of electrons without spin
    """
    spin = system.get('nspin', 1)
    if system.get('noncolin', False) or spin == 4:
        filled = math.ceil(electrons)
    elif spin == 2:
        filled = math.ceil((electrons + abs(system.get('tot_magnetization', 0))) / 2)
    elif round(electrons) % 2:
        return None
    else:
        filled = math.ceil(electrons / 2)
    return {'occupations': 'fixed', 'nbnd': filled + _EMPTY_BANDS}
