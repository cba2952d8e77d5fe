"""Figures: pure functions from arrays to a matplotlib figure, and from a figure to a file."""

from aiida_goectp.core.figures.calibration import calibration_figure
from aiida_goectp.core.figures.curve import learning_curve_figure
from aiida_goectp.core.figures.dilution import Dilution, dilution_figure
from aiida_goectp.core.figures.discovery import discovery_figure
from aiida_goectp.core.figures.parity import Parity, parity_figure
from aiida_goectp.core.figures.style import save_figure

__all__ = (
    'Dilution',
    'Parity',
    'calibration_figure',
    'dilution_figure',
    'discovery_figure',
    'learning_curve_figure',
    'parity_figure',
    'save_figure',
)
