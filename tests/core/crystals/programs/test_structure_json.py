"""JSON lines with objects of pymatgen."""

import json

from aiida_goectp.core.crystals import read_bytes

CUBIC = {
    'lattice': {'matrix': [[4, 0, 0], [0, 4, 0], [0, 0, 4]]},
    'sites': [{'species': [{'element': 'Po', 'occu': 1}], 'abc': [0, 0, 0]}],
}


def test_a_wrong_line_is_one_failure():
    lines = [
        json.dumps({'material_id': 'mp-1', 'structure': CUBIC, 'band_gap': 1.5}),
        '{"material_id": "mp-2", "structure"',
        '',
        json.dumps(CUBIC),
        '{"material_id": "mp-3", "structure": null}',
    ]
    crystals = read_bytes('some.pymatgen.jsonl', '\n'.join(lines).encode())
    assert crystals.ids.tolist() == ['mp-1', 'some@2']
    assert crystals.properties['band_gap'].tolist()[0] == 1.5
    failures = [(failure.id, failure.code) for failure in crystals.failures]
    assert failures == [('some@1', 'unreadable_row'), ('some@3', 'unreadable_row')]
