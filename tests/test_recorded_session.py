"""The recorded session of the manual shows what its commands print."""

import pytest

from tests.recorded_session import PAGE, new_profile, output_of, recorded


def same(first, second):
    """Return whether two words are equal, or numbers that agree within the rounding of another machine."""
    try:
        return float(first) == pytest.approx(float(second), rel=2e-3, abs=2e-4)
    except ValueError:
        return first == second


@pytest.mark.slow
def test_outputs(tmp_path):
    commands = recorded(PAGE.read_text(encoding='utf-8'))
    assert len(commands) == 14
    environment = new_profile(tmp_path)
    for command, *expected in commands:
        found = output_of(command.removeprefix('$ '), tmp_path, environment)
        before, now = ' '.join(expected).split(), ' '.join(found).split()
        assert len(before) == len(now), (command, found)
        assert [pair for pair in zip(before, now, strict=True) if not same(*pair)] == [], command
    # the daemon of this profile does not run, which is no failure
    checks = ' '.join(output_of('aiida-goectp doctor --no-prediction --raw', tmp_path, environment)).split()
    assert (checks.count('failed'), checks.count('warning')) == (0, 3)
    for name in ('gap.svg', 'elements.svg', 'report.html', 'graph.svg', 'ranking.csv', 'first.aiida'):
        assert (tmp_path / name).stat().st_size > 500, name
