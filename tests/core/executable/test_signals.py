"""When to stop: asked by a signal, or in time before the time is up."""

import os
import signal
import time

import pytest

from aiida_goectp.core.executable.signals import StopSignal


@pytest.fixture(autouse=True)
def own_handlers():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def test_nobody_asks():
    assert not StopSignal()()
    assert not StopSignal(60)(ahead=10)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_asks_once_and_ends_it_the_second_time(number):
    watch = StopSignal()
    os.kill(os.getpid(), number)
    assert watch()
    assert signal.getsignal(number) == signal.SIG_DFL


def test_what_would_not_be_done_in_time_is_not_begun():
    watch = StopSignal(0.2)
    assert not watch()
    assert watch(ahead=1)
    time.sleep(0.25)
    assert watch()
