"""Recipes of the pseudopotentials: valence states, matching radii, local channel, cutoffs.

2s and 2p of Na and Mg, and 1s of Li, are valence states: with them in the core, the optical modes of MgO are a third
too stiff. ``ld1.x`` generates one projector per channel, so both s states of such an atom share one potential. It is
generated for the deeper state of the **ion** (Na⁺, Mg²⁺ and Li⁺, as in compounds) and used as the local potential,
which excludes a ghost state in s; the upper state is a test and agrees within 22 mRy. For Si, Al and Cl, d is local, so
that s and p both have a projector; for the other elements, p is local.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

__all__ = ('FUNCTIONAL', 'RECIPES', 'STRINGENCIES', 'Channel', 'Recipe')

FUNCTIONAL = 'PBEsol'
STRINGENCIES = ('low', 'normal', 'high')


class Channel(NamedTuple):
    """One pseudo-state: ``label`` such as '2P', occupation, matching radius in bohr.

    A negative occupation denotes an unbound state at ``energy`` (Ry); an energy of 0 denotes the all-electron
    eigenvalue.
    """

    label: str
    occupation: float
    radius: float
    energy: float = 0.0

    @property
    def angular_momentum(self) -> int:
        """Angular momentum quantum number: 0, 1, 2 for s, p, d."""
        return 'SPD'.index(self.label[1])


@dataclass(frozen=True)
class Recipe:
    """Input of ``ld1.x`` for one element.

    :param configuration: reference configuration of the generation, core included
    :param channels: one channel for each angular momentum
    :param local: angular momentum of the local channel
    :param method: 'rrkj' (softer) or 'tm' (Troullier-Martins, required for unbound states)
    :param valence: number of valence electrons
    :param cutoffs: low, normal and high plane-wave cutoff in Ry; the density cutoff is four times as large
    :param tests: valence configurations that the potential must reproduce
    :param core_radius: matching radius of the nonlinear core correction in bohr; None without correction
    """

    symbol: str
    atomic_number: int
    configuration: str
    channels: tuple[Channel, ...]
    local: int
    valence: int
    cutoffs: tuple[float, float, float]
    tests: tuple[str, ...]
    method: Literal['rrkj', 'tm'] = 'rrkj'
    core_radius: float | None = None


def _semicore(symbol: str, number: int, radii: tuple[float, float], cutoffs: tuple[float, float, float]) -> Recipe:
    """Return the recipe of a third-period atom with 2s, 2p and 3s as valence states, generated from its ion."""
    outer = number - 10
    return Recipe(
        symbol,
        number,
        '1s2 2s2 2p6 3s0 3p0',
        (Channel('2S', 2, radii[0]), Channel('2P', 6, radii[1])),
        local=0,
        valence=number - 2,
        cutoffs=cutoffs,
        tests=(f'2s2 2p6 3s{outer} 3p0', f'2s2 2p6 3s{outer - 1} 3p1', '2s2 2p6 3s0 3p0'),
    )


def _second_row(
    symbol: str,
    number: int,
    radii: tuple[float, float],
    cutoffs: tuple[float, float, float],
    *,
    method: Literal['rrkj', 'tm'] = 'rrkj',
    core_radius: float | None = None,
) -> Recipe:
    """Return the recipe of an atom from B to F; p is local."""
    p = number - 4
    return Recipe(
        symbol,
        number,
        f'1s2 2s2 2p{p}',
        (Channel('2S', 2, radii[0]), Channel('2P', p, radii[1])),
        local=1,
        valence=number - 2,
        cutoffs=cutoffs,
        tests=(f'2s2 2p{p}', f'2s1 2p{p + 1}', f'2s2 2p{p - 1}'),
        method=method,
        core_radius=core_radius,
    )


def _third_row(
    symbol: str,
    number: int,
    radii: tuple[float, float, float],
    cutoffs: tuple[float, float, float],
    core_radius: float | None = None,
) -> Recipe:
    """Return the recipe of an atom from Al to Cl; d, generated for an unbound state, is local."""
    p = number - 12
    return Recipe(
        symbol,
        number,
        f'[Ne] 3s2 3p{p} 3d-2',
        (Channel('3S', 2, radii[0]), Channel('3P', p, radii[1]), Channel('3D', -2, radii[2], energy=-0.2)),
        local=2,
        valence=number - 10,
        cutoffs=cutoffs,
        tests=(f'3s2 3p{p}', f'3s1 3p{p + 1}', f'3s2 3p{p - 1}' if p > 1 else '3s1 3p0'),
        method='tm',
        core_radius=core_radius,
    )


_HYDROGEN = Recipe(
    'H', 1, '1s1', (Channel('1S', 1, 1.1),), local=0, valence=1, cutoffs=(50, 60, 70), tests=('1s1', '1s0.5')
)
_LITHIUM = Recipe(
    'Li',
    3,
    '1s2 2s0 2p0',
    (Channel('1S', 2, 0.97), Channel('2P', 0, 0.9)),
    local=0,
    valence=3,
    cutoffs=(80, 90, 100),
    tests=('1s2 2s1 2p0', '1s2 2s0 2p1', '1s2 2s0 2p0'),
)

RECIPES: MappingProxyType[str, Recipe] = MappingProxyType(
    {
        recipe.symbol: recipe
        for recipe in (
            _HYDROGEN,
            _LITHIUM,
            _second_row('B', 5, (1.3, 1.3), (50, 60, 70)),
            _second_row('C', 6, (1.2, 1.2), (50, 60, 70), method='tm'),
            _second_row('N', 7, (1.2, 1.25), (60, 70, 80)),
            _second_row('O', 8, (1.2, 1.3), (70, 80, 90)),
            _second_row('F', 9, (1.2, 1.4), (70, 80, 90), core_radius=0.6),
            _semicore('Na', 11, (1.1, 1.6), (60, 70, 80)),
            _semicore('Mg', 12, (1.05, 1.45), (70, 80, 90)),
            _third_row('Al', 13, (1.9, 1.9, 2.0), (30, 36, 44), core_radius=1.3),
            _third_row('Si', 14, (1.8, 1.8, 1.8), (30, 36, 44)),
            _third_row('Cl', 17, (1.5, 1.5, 1.6), (40, 50, 60)),
        )
    }
)
"""Recipes by chemical symbol."""
