"""A small event loop: descriptors and moments. asyncio takes more memory than all of a helper."""

import heapq
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """poll(2) over handlers, and functions to call later."""

    def __init__(self) -> None:
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
        heapq.heappush(self._timers, (time.monotonic() + delay_s, self._count, function))

    def turn(self) -> None:
        """Wait for the next events and handle them."""
        wait_ms = None
        if self._timers:
            wait_ms = max(0.0, self._timers[0][0] - time.monotonic()) * 1000 + 1
        for fd, _ in self._poll.poll(wait_ms):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler()
        now_s = time.monotonic()
        while self._timers and self._timers[0][0] <= now_s:
            heapq.heappop(self._timers)[2]()
