"""The output of several containers, each line with the name of its container before it."""

import time

from rootless.compose.identity import Member, members
from rootless.container.logs import LogOptions, LogReader, open_log
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.host.paths import Host

# As docker compose has them: cyan, yellow, green, magenta, blue, and their bright ones.
_COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_LOOK_S = 0.25
_POLL_S = 0.02
_NO_LOG = ("none", "passthrough")


class Looks(NamedTuple):
    """How lines are shown."""

    prefix: bool = True
    coloured: bool = False


class Follower:
    """Shows what a project's containers write; `is_wanted` chooses them.

    Containers that come later are found; one that is started again goes on.
    """

    def __init__(
        self,
        host: "Host",
        project: str,
        options: LogOptions,
        looks: Looks,
        is_wanted: "Callable[[Member], bool]",
    ) -> None:
        self._host = host
        self._project = project
        self._options = options
        self._looks = looks
        self._is_wanted = is_wanted
        self._readers: dict[str, LogReader] = {}
        self._looked_s = -1.0
        self._width = 0
        self.members: list[Member] = []
        self.broken = False

    def look(self) -> None:
        """Find the containers that are there now."""
        self._looked_s = time.monotonic()
        self.members = [one for one in members(self._host, self._project) if self._is_wanted(one)]
        names = [self.short(one.name) for one in self.members]
        self._width = max([self._width, *map(len, names)])
        for one in self.members:
            if one.id in self._readers or one.view.record.log_driver in _NO_LOG:
                continue
            self._readers[one.id] = open_log(one.view, self._options, *self._ends(one))

    @property
    def since(self) -> str:
        """The time from which on lines are shown."""
        return self._options.since

    def short(self, name: str) -> str:
        """Return a container's name without the project's."""
        return name.removeprefix(f"{self._project}-")

    def shows(self, one: Member) -> bool:
        """Whether a container is one of those that are shown."""
        return self._is_wanted(one)

    def _ends(self, one: Member) -> tuple[bytes, bytes]:
        if not self._looks.prefix:
            return b"", b"\n"
        text = f"{self.short(one.name):<{self._width + 1}} | "
        if self._looks.coloured:
            text = f"\033[{_COLORS[len(self._readers) % len(_COLORS)]}m{text}\033[0m"
        return text.encode(), b"\n"

    def copy(self) -> bool:
        """Show what was written since the last call; true when there was something."""
        moved = False
        for reader in self._readers.values():
            moved = reader.copy() or moved
            self.broken = self.broken or reader.broken
        return moved

    def copy_one(self, container_id: str) -> None:
        """Show what is left of one container."""
        if container_id in self._readers:
            self._readers[container_id].copy()

    def is_due(self) -> bool:
        """Whether it is time to look for containers again."""
        return time.monotonic() - self._looked_s >= _LOOK_S

    def run(self, *, follow: bool) -> None:
        """Show the logs; with `follow` until no container runs any more."""
        self.look()
        self.copy()
        while follow and not self.broken:
            if self.is_due():
                self.look()
                if not any(one.is_running for one in self.members):
                    self.copy()
                    return
            if not self.copy():
                time.sleep(_POLL_S)
