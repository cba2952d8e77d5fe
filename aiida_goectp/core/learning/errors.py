"""Exceptions of prediction and training; free of torch, so that the executable imports them at its start."""

from __future__ import annotations

from aiida_goectp.core.formats.errors import FormatError

__all__ = (
    'DeviceOutOfMemoryError',
    'NoDeviceError',
    'TrainingDiverged',
    'TrainingInputError',
    'TrainingInterrupted',
)


class NoDeviceError(FormatError):
    """The requested GPU does not exist, or failed."""


class DeviceOutOfMemoryError(RuntimeError):
    """The memory of the device is too small."""


class TrainingInterrupted(Exception):
    """The training stopped on request; it can be resumed from its state file."""


class TrainingDiverged(ValueError):
    """The loss is not finite."""


class TrainingInputError(ValueError):
    """Labels, settings, initial model and state file of a training do not fit together."""
