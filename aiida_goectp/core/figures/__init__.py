"""Matplotlib figures as functions of arrays."""

from aiida_goectp.core.figures.calibration import calibration_figure
from aiida_goectp.core.figures.curve import learning_curve_figure
from aiida_goectp.core.figures.discovery import discovery_figure
from aiida_goectp.core.figures.infrared import infrared_figure
from aiida_goectp.core.figures.lattice import lattice_figure
from aiida_goectp.core.figures.parity import Parity, parity_figure
from aiida_goectp.core.figures.style import save_figure
from aiida_goectp.core.figures.vacuum import VacuumSeries, vacuum_figure

__all__ = (
    'Parity',
    'VacuumSeries',
    'calibration_figure',
    'discovery_figure',
    'infrared_figure',
    'lattice_figure',
    'learning_curve_figure',
    'parity_figure',
    'save_figure',
    'vacuum_figure',
)
