"""A local server that answers like the summary endpoint of the Materials Project, with a few written documents."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY = 'k3y-0f-the-tests-0123456789abcde'


def site(*species, abc=(0.0, 0.0, 0.0)):
    """Return a site as pymatgen writes it; species are pairs of symbol and occupancy."""
    listed = [{'element': symbol, 'occu': occupancy} for symbol, occupancy in species]
    return {'species': listed, 'abc': list(abc), 'xyz': [0.0, 0.0, 0.0], 'label': '?', 'properties': {'magmom': 0.0}}


def summary(number, scale=1.0, gap=5.0, hull=0.0, cation=(('Mg', 1),), **more):
    """Return the summary of a rock salt; like those of the service, it has more keys than a query asks for."""
    matrix = [[0, 2.1 * scale, 2.1 * scale], [2.1 * scale, 0, 2.1 * scale], [2.1 * scale, 2.1 * scale, 0]]
    structure = {
        '@module': 'pymatgen.core.structure',
        '@class': 'Structure',
        'charge': 0,
        'lattice': {'matrix': matrix, 'pbc': [True, True, True]},
        'sites': [site(*cation), site(('O', 1), abc=(0.5, 0.5, 0.5))],
    }
    return {
        'material_id': f'mp-{number}',
        'formula_pretty': 'MgO',
        'elements': ['Mg', 'O'],
        'nsites': 2,
        'band_gap': gap,
        'energy_above_hull': hull,
        'structure': structure,
        'is_gap_direct': True,
        'e_electronic': 3.0 + scale,
        'deprecated': False,
        'symmetry': {'number': 225},
    } | more


SUMMARIES = [
    *(summary(1265 + number, 1 + number / 50, gap=4.0 + number, hull=number / 100) for number in range(4)),
    summary(1280, hull=None),
    summary(1290, cation=(('Mg', 0.5), ('Zn', 0.5))),
    summary(1300, deprecated=True),
]


class Plan:
    """What the server has to answer: statuses of the next requests of summaries, then 200."""

    def __init__(self):
        self.asked, self.answers, self.version = [], [], '2025.09.25'

    def queries(self):
        """Return the parameters of the requests of summaries."""
        return [parameters for path, parameters in self.asked if path == '/materials/summary/']


def _matches(document, parameters):
    elements = set(parameters.get('elements', '').split(',')) - {''}
    return (
        elements <= set(document['elements'])
        and document['deprecated'] == (parameters['deprecated'] == 'true')
        and document['band_gap'] >= float(parameters.get('band_gap_min', 0))
    )


def _answer(plan, path, parameters, key):
    """Return status and content."""
    if path == '/heartbeat':
        return 200, {'status': 'OK', 'db_version': plan.version}
    if path != '/materials/summary/':
        return 404, {'detail': 'Not Found'}
    if key != KEY:
        return 401, {'message': f'Unauthorized key {key}'}
    if plan.answers and (status := plan.answers.pop(0)) != 200:
        return status, {'detail': [{'loc': ['query', 'nsites_max'], 'msg': f'planned, key {key}'}]}
    skip, limit = int(parameters.get('_skip', 0)), int(parameters.get('_limit', 100))
    found = [document for document in SUMMARIES if _matches(document, parameters)]
    fields = parameters.get('_fields', 'material_id').split(',')
    page = [{name: document[name] for name in fields} for document in found[skip : skip + limit]]
    return 200, {'data': page, 'meta': {'api_version': '0.1', 'total_doc': len(found), 'max_limit': 1000}}


@contextmanager
def materials_server():
    """Serve :data:`SUMMARIES`; yield the base URL and the plan of the answers."""
    plan = Plan()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
            plan.asked.append((parts.path, parameters))
            status, content = _answer(plan, parts.path, parameters, self.headers['X-API-KEY'])
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(body)))
            self.send_header('Retry-After', '0')
            if status == 302:
                self.send_header('Location', '/heartbeat')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}', plan
    server.shutdown()
    server.server_close()
    thread.join(10)
