"""Limits on attempts, in memory: enough for one API process; several behind a proxy multiply them."""

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from api.problems import TooManyRequests


class AttemptLimit:
    """At most `attempts` per key within `seconds`.

    Memory is bounded: `keys` keys with up to `attempts` times each; the key that was quiet longest goes first.

    Args:
        attempts: how many are allowed in a window.
        seconds: the window's length.
        keys: how many keys are remembered.
        clock: monotonic seconds.
    """

    def __init__(
        self, attempts: int, seconds: float, keys: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._attempts = attempts
        self._seconds = seconds
        self._keys = keys
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> None:
        """Count an attempt before it is made, so that attempts side by side count too.

        Raises:
            TooManyRequests: the window is full.
        """
        now = self._clock()
        with self._lock:
            times = self._times.setdefault(key, deque())
            self._times.move_to_end(key)
            while len(self._times) > self._keys:
                self._times.popitem(last=False)
            while times and times[0] <= now - self._seconds:
                times.popleft()
            if len(times) >= self._attempts:
                wait = int(times[0] + self._seconds - now) + 1
                raise TooManyRequests(f"too many attempts; try again in {wait} seconds", wait)
            times.append(now)

    def forgive(self, key: str) -> None:
        """Forget a key's attempts: the last one was right."""
        with self._lock:
            self._times.pop(key, None)


def address_group(host: str | None) -> str:
    """What counts as one address: an IPv4 address, or the /64 network of an IPv6 one, which is one household's."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or "unknown"
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
