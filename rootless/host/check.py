"""The record of one question that doctor asks, and what all checks share."""

import signal

from rootless.errors import HostError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

OK = "ok"
WARN = "warn"
FAIL = "fail"


class Check(NamedTuple):
    """`id` is stable; `found` is what is there, `chosen` what rpod does with it.

    `status` is ok, warn (something costs the user) or fail (containers cannot run); the last two
    have a `cause` and a `fix`, a command or setting to be used as it stands.
    """

    id: str
    title: str
    status: str
    found: str
    chosen: str = ""
    cause: str = ""
    fix: str = ""


class TimeLimit:
    """Raise HostError in the main thread when a step takes longer than `limit_s`."""

    __slots__ = ("_doing", "_left_s", "_limit_s", "_old")

    def __init__(self, doing: str, limit_s: float) -> None:
        self._doing = doing
        self._limit_s = limit_s
        self._left_s = 0.0
        self._old: object = None

    def __enter__(self) -> None:
        try:
            self._old = signal.signal(signal.SIGALRM, self._expired)
        except ValueError:
            # Not the main thread: signals cannot be handled there, so it waits.
            return
        self._left_s = signal.setitimer(signal.ITIMER_REAL, self._limit_s)[0]

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        if self._old is not None:
            # An outer limit goes on, a little later than it would have.
            signal.setitimer(signal.ITIMER_REAL, self._left_s)
            signal.signal(signal.SIGALRM, self._old)  # type: ignore[arg-type]  # what it returned

    def _expired(self, _number: int, _frame: "FrameType | None") -> None:
        raise HostError(f"{self._doing}: no answer within {self._limit_s:g} s")
