"""Inputs of ``ld1.x`` from recipes, and parser of its output."""

from __future__ import annotations

import re
from typing import NamedTuple

from aiida_goectp.core.formats.numbers import fortran_number
from aiida_goectp.workflows.dfpt.quantumespresso.pseudos.recipes import FUNCTIONAL, Recipe

__all__ = ('BOX_RADIUS', 'Comparison', 'Level', 'comparison_input', 'generation_input', 'read_comparisons')

BOX_RADIUS = 8.0
"""Radius in bohr of the sphere of the spherical Bessel functions in the search for ghost states."""

# In a larger sphere the logarithmic mesh is too coarse at 150 Ry, in a smaller one the outer states are raised.
_BESSEL_CUTOFFS = (140, 150)
_LEVEL = re.compile(r'^ +\d+ (\d) {5}(\d[SPD]) +\d\( *(\S+)\) +(\S+) +(\S+) +(\S+) *!?$', re.MULTILINE)


class Level(NamedTuple):
    """One state of a configuration: all-electron and pseudo-energy in Ry."""

    label: str
    angular_momentum: int
    occupation: float
    all_electron: float
    pseudo: float

    @property
    def error(self) -> float:
        """Pseudo-energy minus all-electron energy, Ry."""
        return self.pseudo - self.all_electron


class Comparison(NamedTuple):
    """Results of the separable potential for one configuration of the atom.

    :param excitation_error: error of the total energy relative to the first configuration, Ry; 0 for the first
    :param bessel: lowest eigenvalues in a basis of Bessel functions for each angular momentum, Ry
    """

    levels: tuple[Level, ...]
    excitation_error: float
    bessel: dict[int, tuple[float, ...]]


def generation_input(recipe: Recipe, author: str = 'aiida-goectp') -> str:
    """Return the input that generates ``<symbol>.UPF``."""
    # the last line must be the local channel
    channels = sorted(recipe.channels, key=lambda channel: channel.angular_momentum == recipe.local)
    rows = [
        f'{c.label} {c.angular_momentum + 1} {c.angular_momentum} {c.occupation} {c.energy} {c.radius} {c.radius}'
        for c in channels
    ]
    core = '' if recipe.core_radius is None else f' nlcc=.true., new_core_ps=.true., rcore={recipe.core_radius},\n'
    method = '.true.' if recipe.method == 'tm' else '.false.'
    return (
        f"&input\n title='{recipe.symbol}', zed={recipe.atomic_number}, rel=1, iswitch=3,\n"
        f" dft='{FUNCTIONAL.upper()}', config='{recipe.configuration}'\n/\n"
        f'&inputp\n pseudotype=1, tm={method}, lloc={recipe.local},\n{core}'
        f" file_pseudopw='{recipe.symbol}.UPF', author='{author}'\n/\n"
        f'{len(rows)}\n' + '\n'.join(rows) + '\n'
    )


def comparison_input(recipe: Recipe) -> str:
    """Return the input of the test run: levels, energies, logarithmic derivatives, ghost states."""
    cases = ''.join(f" configts({i})='{case}'\n" for i, case in enumerate(recipe.tests, 1))
    low, high = _BESSEL_CUTOFFS
    return (
        f"&input\n title='{recipe.symbol}', zed={recipe.atomic_number}, rel=1, iswitch=2,\n"
        f" dft='{FUNCTIONAL.upper()}', config='{recipe.configuration}',\n"
        ' eminld=-2.0, emaxld=1.0, deld=0.02, rlderiv=2.2, nld=3\n/\n'
        f"&test\n file_pseudo='{recipe.symbol}.UPF', nconf={len(recipe.tests)},\n{cases}"
        f' ecutmin={low}, ecutmax={high}, decut={high - low}, rm={BOX_RADIUS}\n/\n'
    )


def read_comparisons(output: str) -> list[Comparison]:
    """Return the configurations in the output of a test run, in order; an invalid number, such as asterisks, is NaN."""
    tested = []
    for block in output.split('Testing the pseudopotential')[1:]:
        # the all-electron levels of the next configuration follow in the same block, with another layout
        block, *_ = block.split('All-electron run')
        levels = tuple(
            Level(label, int(momentum), *(fortran_number(word) for word in (occupation, ae, ps)))
            for momentum, label, occupation, ae, ps, _ in _LEVEL.findall(block)
        )
        delta = re.search(r'Delta E= *(\S+)', block)
        last = block.split('Cutoff (Ry) :')[-1]
        bessel = {
            int(momentum): tuple(float(value) for value in re.findall(r'-?\d+\.\d+', values))
            for momentum, values in re.findall(r'E\(L=(\d)\) =(.*)', last)
        }
        tested.append(Comparison(levels, fortran_number(delta.group(1)) if delta else 0.0, bessel))
    return tested
