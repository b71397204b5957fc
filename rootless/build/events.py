"""What a build tells while it goes on, as JSON values; every event has a `kind` and a `stage`.

start   number, total, text, name: an instruction begins
run     why: it is not in the cache
end     why, cached, digest: it has ended
output  stream (1 or 2), data (latin-1): its command has written something
tick    nothing has happened for a while: times go on
debug   a shell takes the terminal
note    text: something for the user
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Event = dict[str, object]
    Emit = Callable[[Event], None]
