"""Name of the functional of runs of ``pw.x`` and ``ph.x``, from all parameters that define it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiida_goectp.core.formats.functionals import UNKNOWN, unnamed

__all__ = ('functional_name',)

_FUNCTIONALS = {
    'PBESOL': 'PBEsol',
    'SLA PW PSX PSC': 'PBEsol',
    'PSX PSC': 'PBEsol',
    'PBE': 'PBE',
    'SLA PW PBX PBC': 'PBE',
    'PBX PBC': 'PBE',
    'PZ': 'LDA',
    'PW': 'LDA',
    'LDA': 'LDA',
    'SLA PZ': 'LDA',
    'SLA PW': 'LDA',
    'REVPBE': 'revPBE',
    'PW91': 'PW91',
    'BLYP': 'BLYP',
    'TPSS': 'TPSS',
    'M06L': 'M06-L',
    'SCAN': 'SCAN',
    'RSCAN': 'rSCAN',
    'R2SCAN': 'r2SCAN',
    'VDW DF': 'vdW-DF',
    'VDW DF2': 'vdW-DF2',
    'HF': 'HF',
    'PBE0': 'PBE0',
    'HSE': 'HSE06',
    'B3LYP': 'B3LYP',
}
_DISPERSION = {
    'grimme-d2': '+D2',
    'dft-d': '+D2',
    'grimme-d3': '+D3',
    'dft-d3': '+D3',
    'ts': '+TS',
    'ts-vdw': '+TS',
    'tkatchenko-scheffler': '+TS',
    'mbd': '+MBD',
    'many-body dispersion': '+MBD',
    'mbd_vdw': '+MBD',
}
_D3 = {2: '+D2', 3: '+D3', 4: '+D3(BJ)'}
"""name by dftd3_version of the dispersion by S. Grimme"""
_OWN = re.compile(r'[A-Za-z0-9 +-]{1,60}')
_UNNAMED = (
    *('exx_fraction', 'screening_parameter', 'ecutfock', 'x_gamma_extrapolation', 'london', 'xdm', 'ts_vdw'),
    *('london_s6', 'london_rcut', 'london_c6', 'london_rvdw', 'xdm_a1', 'xdm_a2', 'ts_vdw_econv_thr'),
    *('hubbard_j', 'hubbard_j0', 'hubbard_v', 'hubbard_alpha', 'hubbard_beta', 'hubbard_parameters', 'hubbard_orbital'),
    'lnoloc',
)
"""parameters that change functional or response in a way that has no name here"""


def functional_name(text: str, ground_state: Mapping[str, Any] | None = None, has_hubbard: bool = False) -> str:
    """Return the name of the functional: ``PBEsol``, ``HSE06``, ``PBE+D3``, ``PBE+U(Fe 4.6)``, …

    The name contains everything that changes the response: dispersion, U of each kind, spin-orbit coupling (``+SOC``),
    and ``+LRPA`` where the response has no exchange and correlation.

    :param text: functional in the notation of ``pw.x``; one without a common name is returned unchanged
    :param ground_state: parameters of ``pw.x`` and ``ph.x``, by namelist
    :param has_hubbard: whether the output of ``pw.x`` contains Hubbard corrections
    :return: ``unnamed (…)`` with the parameters if some that define the functional are not understood; ``unknown`` if
        the functional is not stated
    """
    words = ' '.join(text.upper().replace('+', ' ').replace('-', ' ').split())
    words = re.sub(r'( (NONE|NOGX|NOGC))+$', '', words)
    if words and words not in _FUNCTIONALS and not _OWN.fullmatch(text.strip()):
        return unnamed('input_dft')
    name = _FUNCTIONALS.get(words, text.strip())
    tags = {
        str(key).lower(): value
        for namelist in (ground_state or {}).values()
        if isinstance(namelist, Mapping)
        for key, value in namelist.items()
        if value is not None
    }
    named = {key.partition('(')[0] for key, value in tags.items() if value is not False}
    if other := sorted(named & set(_UNNAMED)):
        return unnamed(', '.join(other))
    try:
        additions = _dispersion(tags)
    except (ValueError, TypeError, KeyError):
        return unnamed('vdw_corr')
    try:
        additions += _hubbard(tags, has_hubbard)
    except (ValueError, TypeError, KeyError):
        return unnamed('hubbard_u')
    flags = (('lspinorb', '+SOC'), ('lrpa', '+LRPA'))
    additions += ''.join(label for key, label in flags if tags.get(key, False))
    if not words:
        return unnamed('input_dft') if additions else UNKNOWN
    return name + additions


def _dispersion(tags: Mapping[str, Any]) -> str:
    """Return the dispersion correction.

    :raises KeyError: an unknown one
    """
    kind = str(tags.get('vdw_corr', 'none')).strip().lower()
    if kind in ('none', ''):
        return ''
    if not tags.get('dftd3_threebody', True):
        raise ValueError('D3 without its three-body term')
    name = _DISPERSION[kind]
    return _D3[int(tags.get('dftd3_version', 3))] if name == '+D3' else name


def _hubbard(tags: Mapping[str, Any], has_hubbard: bool) -> str:
    """Return the values of U in eV by element; empty without DFT+U.

    :raises ValueError: values that are missing, or differ within an element
    """
    values = tags.get('hubbard_u', {})
    wanted = has_hubbard or bool(tags.get('lda_plus_u', False)) or bool(values)
    if not wanted and not any(key.startswith('hubbard_u(') for key in tags):
        return ''
    if not isinstance(values, Mapping) or not values or int(tags.get('lda_plus_u_kind', 0)) != 0:
        raise ValueError('U is not known for each kind')
    found: dict[str, float] = {}
    for kind, value in values.items():
        symbol = re.sub(r'[^A-Za-z].*', '', str(kind))
        if found.setdefault(symbol, float(value)) != float(value):
            raise ValueError(f'two values of U for {symbol}')
    named = ', '.join(f'{symbol} {value:g}' for symbol, value in sorted(found.items()) if value)
    projection = tags.get('u_projection_type', 'atomic')
    return '' if not named else f'+U({named})' if projection == 'atomic' else f'+U({projection}: {named})'
