"""The command lines ``aiida-goectp`` and ``verdi data goectp``."""

try:
    from aiida_goectp.cli.root import main
except ModuleNotFoundError as error:  # a compute node, with the executable goectp alone
    missing = str(error.name).partition('.')[0]
    if missing == 'aiida_goectp':
        raise
    raise SystemExit(
        f'aiida-goectp: the AiiDA plugin is not fully installed (no module {missing}); run: pip install aiida-goectp'
    ) from error

__all__ = ('main',)
