"""``aiida-goectp fetch``: download crystals, and store them with their source."""

from __future__ import annotations

import click

from aiida_goectp.cli.fetch.materials_project import materials_project
from aiida_goectp.cli.fetch.optimade import optimade

__all__ = ('fetch',)


@click.group()
def fetch() -> None:
    """Download crystals from databases.

    The answer of the database, URL, query and date are stored as inputs of the node of crystals. An interrupted
    download is kept in a file *.partial in the current folder; the same command resumes.
    """


fetch.add_command(optimade)
fetch.add_command(materials_project)
