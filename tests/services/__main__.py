"""``python -m tests.services start|stop FOLDER``: install and start all services, or stop them."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.services.stack import Stack


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='python -m tests.services', description=__doc__)
    parser.add_argument('command', choices=('start', 'stop'))
    parser.add_argument('folder', type=Path, help='of data, logs and configuration; removed by stop')
    given = parser.parse_args()
    stack = Stack(given.folder.resolve())
    if given.command == 'start':
        stack.install()
        stack.start()
    else:
        stack.remove()


if __name__ == '__main__':
    main()
