"""Name of the functional of runs of ``pw.x`` and ``ph.x``, from all parameters that define it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiida_goectp.core.formats.functionals import UNKNOWN

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
    *('hubbard_j', 'hubbard_j0', 'hubbard_v', 'hubbard_alpha', 'hubbard_beta', 'hubbard_parameters', 'lnoloc'),
)
"""parameters that change functional or response in a way that has no name here"""


def functional_name(text: str, ground_state: Mapping[str, Any] | None = None, has_hubbard: bool = False) -> str:
    """Return the name of the functional: ``PBEsol``, ``HSE06``, ``PBE+D3``, ``PBE+U(Fe 4.6)``, …

    The name contains everything that changes the response: dispersion, U of each kind, spin-orbit coupling (``+SOC``),
    and ``+LRPA`` where the response has no exchange and correlation.

    :param text: functional in the notation of ``pw.x``; one without a common name is returned unchanged
    :param ground_state: parameters of ``pw.x`` and ``ph.x``, by namelist
    :param has_hubbard: whether the output of ``pw.x`` contains Hubbard corrections
    :return: ``unknown`` if a parameter that defines the functional is not understood
    """
    words = ' '.join(text.upper().replace('+', ' ').replace('-', ' ').split())
    words = re.sub(r'( (NONE|NOGX|NOGC))+$', '', words)
    if words not in _FUNCTIONALS and not _OWN.fullmatch(text.strip()):
        return UNKNOWN
    name = _FUNCTIONALS.get(words, text.strip())
    tags = {
        str(key).lower(): value
        for namelist in (ground_state or {}).values()
        if isinstance(namelist, Mapping)
        for key, value in namelist.items()
        if value is not None
    }
    if any(key.partition('(')[0] in _UNNAMED and value is not False for key, value in tags.items()):
        return UNKNOWN
    try:
        parts = (_dispersion(tags), _hubbard(tags, has_hubbard))
    except (ValueError, TypeError, KeyError):
        return UNKNOWN
    flags = (('lspinorb', '+SOC'), ('lrpa', '+LRPA'))
    return name + ''.join(parts) + ''.join(label for key, label in flags if tags.get(key, False))


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
