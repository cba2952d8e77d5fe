"""Invocation of the command lines within the test process."""

from click.testing import CliRunner

from aiida_goectp.cli import main


def invoke(*arguments, status=0, command=main):
    """Invoke a command, check its exit status, and return its output."""
    result = CliRunner().invoke(command, [str(item) for item in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == status, result.output
    return result.output


def flat(output):
    """Return the words of an output in one line, without the frame that click draws around errors."""
    return ' '.join(output.replace('│', ' ').split())


def line_with(output, word):
    """Return the first line of an output that contains a word, with single spaces."""
    return next(' '.join(line.split()) for line in output.splitlines() if word in line.split())
