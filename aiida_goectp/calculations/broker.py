"""Processes that load while the connection to the message broker is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kiwipy
from aiida.engine import Process

__all__ = ('LostConnectionMixin',)


class LostConnectionMixin(Process):
    """Process that continues if it cannot subscribe to messages.

    aiida-core ends a process by an exception if the connection is closed while a worker loads it, although all that it
    needs is stored. If the broker does not answer in time, it logs the error and continues: the process runs, and takes
    requests to pause or kill it once a worker loads it again. This class treats both alike.

    It sets ``_communicator`` of plumpy, which is private: there is no public method around the subscription. Check it
    after an upgrade of AiiDA.
    """

    def init(self) -> None:
        """Subscribe to messages, as after each creation and load of a process."""
        communicator = self._communicator
        if communicator is not None:
            self._communicator = _WithTimeouts(communicator)
        try:
            super().init()
        finally:
            self._communicator = communicator


class _WithTimeouts:
    """Communicator of which a subscription that fails counts as one that was not answered in time."""

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._communicator, name)
        return _with_timeouts(found) if name in ('add_rpc_subscriber', 'add_broadcast_subscriber') else found


def _with_timeouts(subscribe: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return subscribe(*args, **kwargs)
        except (kiwipy.TimeoutError, kiwipy.DuplicateSubscriberIdentifier):  # the latter: the process runs already
            raise
        except Exception as error:
            raise kiwipy.TimeoutError(f'{type(error).__name__}: {error}') from error

    return call
