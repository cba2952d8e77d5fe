"""Reasons why a finished calculation gives no label."""

from __future__ import annotations

from enum import Enum

from aiida_goectp.core.formats.errors import FormatError

__all__ = ('CollectError', 'Refusal')


class Refusal(str, Enum):
    """Why a calculation is not collected; crystals that are invalid have the codes of :func:`.check_crystal`."""

    UNREADABLE_FILE = 'unreadable_file'
    """a file is damaged, or cannot be opened"""
    UNFINISHED = 'unfinished'
    """the program did not come to its end"""
    NO_RESPONSE = 'no_response'
    """the outputs contain no dielectric tensor"""
    MISSING_FILE = 'missing_file'
    """a part of the calculation is not in the folder"""
    AMBIGUOUS_FILES = 'ambiguous_files'
    """several files for the same part"""
    OTHER_CELL = 'other_cell'
    """files of different cells"""
    OTHER_RUN = 'other_run'
    """files of different runs, or one file of several runs"""
    UNSUPPORTED = 'unsupported'
    """a setting of the program that is not read"""
    UNNAMED_FUNCTIONAL = 'unnamed_functional'
    """settings of the functional that have no name here, and no name was given for them"""
    MISSING_PACKAGE = 'missing_package'
    """an optional package is not installed"""
    DUPLICATE = 'duplicate_calculation'
    """files equal to those of another folder"""

    __str__ = str.__str__


class CollectError(FormatError):
    """The outputs of a calculation give no response.

    :param code: reason
    :param message: what was found, and the remedy
    """

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.code = code
