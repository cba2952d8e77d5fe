"""Fixtures of the replay."""

from tests.replay_vasp.fixtures import *  # noqa: F403
