"""A local server of OPTIMADE: the reference server of optimade-python-tools on a port of this machine."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

FCC = [[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]]


def species(name, *symbols):
    return {'name': name, 'chemical_symbols': list(symbols), 'concentration': [1 / len(symbols)] * len(symbols)}


def entry(id, anion='O', scale=1.0, gap=None, **more):
    """Return a rock salt of magnesium as an entry."""
    attributes = {
        'elements': sorted(['Mg', anion]),
        'nelements': 2,
        'elements_ratios': [0.5, 0.5],
        'chemical_formula_descriptive': f'Mg{anion}',
        'chemical_formula_reduced': f'Mg{anion}' if anion > 'Mg' else f'{anion}Mg',
        'chemical_formula_anonymous': 'AB',
        'dimension_types': [1, 1, 1],
        'nperiodic_dimensions': 3,
        'lattice_vectors': [[value * scale for value in row] for row in FCC],
        'cartesian_site_positions': [[0, 0, 0], [2.1 * scale] * 3],
        'nsites': 2,
        'species': [species('Mg', 'Mg'), species('anion', anion)],
        'species_at_sites': ['Mg', 'anion'],
        'structure_features': [],
        'last_modified': '2024-01-01T00:00:00Z',
        'gap': gap,  # the server calls it _exmpl_gap
    }
    return {'id': id, 'type': 'structures', 'attributes': attributes | more}


ENTRIES = [
    *(entry(f'ox-{number}', scale=1 + number / 50, gap=float(number)) for number in range(5)),
    entry('sulfide', 'S', 1.25),
    entry('alloy', species=[species('Mg', 'Mg', 'Zn'), species('anion', 'O')], structure_features=['disorder']),
]


class Gate:
    """Middleware: answers with an error instead of passing the request on, as long as there are planned answers."""

    def __init__(self, app, plan):
        self.app, self.plan = app, plan

    async def __call__(self, scope, receive, send):
        if scope['type'] == 'http':
            self.plan.asked.append(scope['path'] + '?' + scope['query_string'].decode())
            status = self.plan.status(scope)
            if status != 200:
                headers = [(b'content-type', b'application/json'), (b'retry-after', b'0')]
                await send({'type': 'http.response.start', 'status': status, 'headers': headers})
                body = b'{"errors": [{"title": "E", "detail": "planned"}]}'
                await send({'type': 'http.response.body', 'body': body})
                return
        await self.app(scope, receive, send)


class Plan:
    """What the server has to answer; ``answers`` are statuses of the next requests of structures, then 200."""

    def __init__(self):
        self.asked, self.answers = [], []

    def status(self, scope):
        return self.answers.pop(0) if self.answers and scope['path'].endswith('/v1/structures') else 200

    def pages(self):
        return [path for path in self.asked if '/v1/structures' in path]


@contextmanager
def optimade_server(folder: Path):
    """Serve :data:`ENTRIES`; yield the base URL and the plan of the answers."""
    import uvicorn
    from optimade.server.config import ServerConfig
    from optimade.server.create_app import create_app

    file = folder / 'entries.jsonl'
    header = {'x-optimade': {'meta': {'api_version': '1.1.0'}}}
    file.write_text(''.join(json.dumps(line) + '\n' for line in (header, *ENTRIES)))
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    url = f'http://127.0.0.1:{port}'
    config = ServerConfig(
        insert_from_jsonl=str(file),
        insert_test_data=False,
        page_limit_max=100,
        base_url=url,
        log_dir=folder,
        provider={'prefix': 'exmpl', 'name': 'Example', 'description': 'of the tests'},
        provider_fields={'structures': [{'name': 'gap', 'type': 'float', 'description': 'band gap', 'unit': 'eV'}]},
    )
    plan = Plan()
    server = uvicorn.Server(
        uvicorn.Config(Gate(create_app(config), plan), port=port, log_level='error', lifespan='off')
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield url, plan
    server.should_exit = True
    thread.join(10)
