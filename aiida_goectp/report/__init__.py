"""Figures: pure functions from arrays to a matplotlib figure, and from a figure to a file."""

from aiida_goectp.report.calibration import calibration_figure, observed_coverage
from aiida_goectp.report.curve import learning_curve_figure
from aiida_goectp.report.dilution import Dilution, dilution_figure
from aiida_goectp.report.discovery import discovery_figure
from aiida_goectp.report.parity import Parity, parity_figure
from aiida_goectp.report.style import save_figure

__all__ = (
    'Dilution',
    'Parity',
    'calibration_figure',
    'dilution_figure',
    'discovery_figure',
    'learning_curve_figure',
    'observed_coverage',
    'parity_figure',
    'save_figure',
)
