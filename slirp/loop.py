"""A small event loop: descriptors and moments. asyncio takes more memory than all of a helper."""

import select
import time
from _heapq import heappop, heappush  # `heapq` has 40 KiB around them

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_REST_S = 1.0


class Loop:
    """poll(2) over handlers, and functions to call later."""

    def __init__(self, on_rest: "Callable[[], None] | None" = None) -> None:
        """`on_rest` is called when nothing has happened for a moment: it may give memory back."""
        self._on_rest = on_rest
        self._is_resting = on_rest is None
        self._busy_s = time.monotonic()
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def watch(self, fd: int, handler: "Callable[[], None]", events: int = select.POLLIN) -> None:
        """Call the handler when the descriptor is ready, or broken."""
        self._handlers[fd] = handler
        self._poll.register(fd, events)

    def forget(self, fd: int) -> None:
        """Undo `watch`; before the descriptor is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def later(self, delay_s: float, function: "Callable[[], None]") -> None:
        """Call a function once; it finds out by itself whether it is still wanted."""
        self._count += 1
        heappush(self._timers, (time.monotonic() + delay_s, self._count, function))

    def _rest(self, is_busy: bool) -> None:
        if self._on_rest is None:
            return
        if is_busy:
            self._busy_s, self._is_resting = time.monotonic(), False
        elif not self._is_resting and time.monotonic() - self._busy_s >= _REST_S:
            self._is_resting = True
            self._on_rest()

    def turn(self) -> None:
        """Wait for the next events and handle them."""
        wait_ms = None
        if self._timers:
            wait_ms = max(0.0, self._timers[0][0] - time.monotonic()) * 1000 + 1
        if not self._is_resting:
            rest_ms = _REST_S * 1000 + 1
            wait_ms = min(rest_ms, wait_ms) if wait_ms is not None else rest_ms
        ready = self._poll.poll(wait_ms)
        self._rest(bool(ready))
        for fd, _ in ready:
            handler = self._handlers.get(fd)
            if handler is not None:
                handler()
        now_s = time.monotonic()
        while self._timers and self._timers[0][0] <= now_s:
            heappop(self._timers)[2]()
