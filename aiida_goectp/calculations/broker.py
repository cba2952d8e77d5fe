"""Processes that continue while the connection to the message broker is closed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import kiwipy
from aiida.engine import Process

__all__ = ('LostConnectionMixin',)

_TOLERATED = 'add_rpc_subscriber', 'add_broadcast_subscriber', 'broadcast_send'
_unsubscribed: set[str] = set()
"""PKs of the processes that this worker runs without a subscription"""


class LostConnectionMixin(Process):
    """Process that continues if it cannot subscribe to messages or announce a change of its state.

    aiida-core ends a process by an exception if the connection is closed at that moment, although all that the process
    needs is stored. If the broker does not answer in time, it logs this and continues: who waits for the process also
    asks the database, and requests to pause or kill it are taken once a worker loads it again. This class treats both
    alike.

    RabbitMQ sends the task of a process that was being loaded once more when the connection is back. aiida-core
    discards such a task if the process has a subscription; this class does so as well if it has none.

    It replaces ``_communicator`` of plumpy, which is private: there is no public method around its calls. Check it
    after an upgrade of AiiDA.
    """

    @property
    def _communicator(self) -> Any:
        return self.__dict__.get('_communicator')

    @_communicator.setter
    def _communicator(self, communicator: Any) -> None:
        self.__dict__['_communicator'] = None if communicator is None else _WithTimeouts(communicator)

    def init(self) -> None:
        """Subscribe to messages, as after each creation and load of a process.

        :raises kiwipy.DuplicateSubscriberIdentifier: this worker runs the process already
        """
        name = str(self.pid)
        if self._communicator is not None and name in _unsubscribed:
            raise kiwipy.DuplicateSubscriberIdentifier(f'process {name} runs without a subscription')
        super().init()
        self.add_cleanup(partial(_unsubscribed.discard, name))


class _WithTimeouts:
    """Communicator of which a call that raises an exception counts as one that was not answered in time."""

    def __init__(self, communicator: Any) -> None:
        self._communicator = communicator

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._communicator, name)
        return partial(_tolerated, name, found) if name in _TOLERATED else found


def _tolerated(name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a method of a communicator.

    :raises kiwipy.TimeoutError: it raised an exception
    :raises kiwipy.DuplicateSubscriberIdentifier: the process runs already
    """
    try:
        return call(*args, **kwargs)
    except kiwipy.DuplicateSubscriberIdentifier:
        raise
    except Exception as error:
        if name == 'add_rpc_subscriber':
            _unsubscribed.add(str(kwargs['identifier']))
        raise kiwipy.TimeoutError(f'{type(error).__name__}: {error}') from error
