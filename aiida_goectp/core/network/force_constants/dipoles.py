"""Long-range part of the force constants: the interaction of the dipoles that moving atoms carry."""

from __future__ import annotations

import math

import torch

from aiida_goectp.core.network.force_constants.batch import CellBatch, SizeGroup
from aiida_goectp.core.network.force_constants.cells import WAVE_WIDTH

__all__ = ('COULOMB', 'dipole_interaction')

COULOMB = 14.3996454785
"""eV Å, e²/4πε₀, CODATA 2018"""


def dipole_interaction(
    group: SizeGroup, batch: CellBatch, charges: torch.Tensor, electronic: torch.Tensor
) -> torch.Tensor:
    """Return the smooth part of the dipole–dipole force constants at Γ.

    Reciprocal part of the Ewald sum in an anisotropic medium (Gonze and Lee, Phys. Rev. B 55, 10355 (1997), eq. 73)

    .. math:: \\frac{4π e²}{V} \\sum_{G≠0} \\frac{(G Z_i)(G Z_j)}{G ε_∞ G} e^{−G²/4η²} \\cos G·(r_i − r_j)

    without the macroscopic field (G = 0), with G² instead of G ε_∞ G in the exponent: the number of G then does not
    depend on ε_∞. The rest of the Ewald sum is left to the springs. It is short-ranged for isotropic ε_∞; otherwise it
    decreases as r⁻⁵, and the part beyond the springs is neglected: at 6 Å a tenth to a third of the dipole interaction
    if the principal values are 2, 2 and 4. The acoustic sum rule is not applied.

    :param charges: (N, 3, 3) e, Born charges of all atoms; first index the field
    :param electronic: (c, 3, 3) ε_∞ of all cells
    :return: (g, 3n, 3n) eV/Å², symmetric
    """
    waves = batch.waves[group.waves]  # (g, w, 3)
    screening = torch.einsum('gwa,gab,gwb->gw', waves, electronic[group.cells], waves)
    squares = waves.square().sum(-1)
    # a pair of G and −G counts twice
    strength = 8 * math.pi * COULOMB * torch.exp(-squares / (4 * WAVE_WIDTH**2)) / screening.clamp(min=1e-9)
    amplitude = torch.sqrt(torch.where(group.wave_known, strength, 0.0) / batch.volumes[group.cells][:, None])
    phases = torch.einsum('gwa,gna->gnw', waves, batch.positions[group.atoms])
    projected = torch.einsum('gwa,gnab->gnbw', waves * amplitude[..., None], charges[group.atoms])
    parts = torch.cat([projected * phases.cos()[:, :, None], projected * phases.sin()[:, :, None]], dim=-1)
    flat = parts.flatten(1, 2)
    return flat @ flat.transpose(1, 2)
