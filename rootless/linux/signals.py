"""The `signal` module without its enums, which cost 3 ms of every start: numbers are plain int."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import *  # noqa: F403
else:
    from _signal import *  # noqa: F403
