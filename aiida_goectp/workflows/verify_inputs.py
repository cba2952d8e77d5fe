"""Validation of the inputs of a verification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida_goectp.workflows.dfpt.engines import check_engine, load_engine

__all__ = ('validate_verify',)


def validate_verify(inputs: Mapping[str, Any], _: Any) -> str | None:
    """Return an error for an unknown engine, or for a selection that is incomplete or given in two ways."""
    try:
        engine = load_engine(inputs['engine'].value) if 'engine' in inputs else None
    except ValueError as error:
        return f'engine: {error}'
    try:
        if engine is not None:
            check_engine(engine, inputs.get('dfpt', {}))
    except ValueError as error:
        return f'dfpt: {error}'
    ranked = [name for name in ('ranking', 'crystals', 'number') if name in inputs]
    if ('selection' in inputs) == bool(ranked):
        return 'give either `selection` with its `structures`, or `ranking` with its `crystals` and a `number`'
    if ranked:
        return (
            None if len(ranked) == 3 else f'`ranking`, `crystals` and `number` go together; given: {", ".join(ranked)}'
        )
    structures = inputs.get('structures', {})
    for item in inputs['selection'].get_list():
        if not isinstance(item, dict) or not isinstance(item.get('structure'), str):
            return 'selection: each item needs the name of its `structure`; use the output `selection` of a screen'
        if item['structure'] not in structures:
            return f'selection: the structure {item["structure"]} is missing in `structures`'
    return None
