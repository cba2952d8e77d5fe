"""Requests to stop by signals and by the time limit."""

import os
import signal
import time

import pytest

from aiida_goectp.core.executable.signals import StopSignal


@pytest.fixture(autouse=True)
def restored_handlers():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def test_without_a_request():
    assert not StopSignal()()
    assert not StopSignal(60)(ahead=10)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_the_second_signal_has_its_default_effect(number):
    stop = StopSignal()
    os.kill(os.getpid(), number)
    assert stop()
    assert signal.getsignal(number) == signal.SIG_DFL


def test_work_that_would_exceed_the_time_limit_is_not_begun():
    stop = StopSignal(0.2)
    assert not stop()
    assert stop(ahead=1)
    time.sleep(0.25)
    assert stop()
