"""Images to and from other machines over ssh(1), and other users of this one by sudo(8)."""

import os
import subprocess

from rootless.errors import HostError, UsageError
from rootless.host.paths import Host
from rootless.images import default_key, in_namespace
from storage.errors import InvalidArchive
from storage.events import ignore
from storage.images import ImageRecord, find_image
from storage.record import NamedTuple
from storage.reference import LOCAL_REGISTRY, parse_reference
from storage.transfer import send_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.images import OnEvent
    from rootless.linux.userns import Emit

_NOT_FOUND = 127
_MARK = "::"


class Place(NamedTuple):
    """A machine, empty for this one, and the name of an image there, empty for the same name.

    `user` is another user of this machine, whose host is `USER@localhost`.
    """

    host: str
    name: str
    user: str = ""


def parse_place(text: str) -> Place:
    """Read NAME, HOST::NAME, USER@HOST::NAME or ssh://USER@HOST:PORT::NAME. Raises UsageError.

    As podman does, USER@localhost is reached without ssh; ssh://USER@localhost is not.
    """
    host, mark, name = text.partition(_MARK)
    if not mark:
        return Place("", text)
    if not host or host.startswith("-") or any(letter.isspace() for letter in host):
        raise UsageError(f"{text!r}: {host!r} is not a host of ssh", remedy="write HOST::NAME")
    user, at, machine = host.rpartition("@")
    if at and machine == "localhost" and "://" not in host:
        return Place("", name) if user == _own_name() else Place(host, name, user)
    return Place(host, name)


def _own_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def copy(host: Host, source: str, destination: str = "", on_event: "OnEvent | None" = None) -> None:
    """Copy an image to another machine, from it, or between two, without what is there already.

    Raises UsageError, ImageNotFound, HostError, InvalidArchive.
    """
    there, here = parse_place(source), parse_place(destination)
    if not there.host and not here.host:
        raise UsageError(
            "neither of the two is on another machine", remedy="write HOST:: or HOST::NAME"
        )
    if not there.name:
        raise UsageError(f"{source}: the image is missing")
    if there.host and here.host:
        _relay(there, here)
    elif there.host:
        _fetch(host, there, here.name, on_event)
    else:
        _send(host, there.name, here, on_event)


def send(
    host: Host, image: str, name: str, source: int, target: int, on_event: "OnEvent | None" = None
) -> None:
    """Speak the sender's part over two descriptors. Raises ImageNotFound, InvalidArchive."""
    record = find_image(host.layout, image)
    names = (_full(name),) if name else tuple(one for one in record.names if "@" not in one)
    send_image(host.layout, record, names, source, target, on_event or ignore)


def receive(
    host: Host, source: int, target: int, on_event: "OnEvent | None" = None
) -> list[ImageRecord]:
    """Speak the receiver's part. Raises InvalidArchive, PolicyRefused, StoreUnusable."""
    from storage.transfer import receive_images

    def work(emit: "Emit") -> object:
        records = receive_images(
            host.layout,
            default_key(host),
            source,
            target,
            events=lambda event: emit(list(event)),
            environment=host.environ,
        )
        return [[record.manifest_digest, *record.names] for record in records]

    found = in_namespace(host, work, on_event)
    assert isinstance(found, list)
    return [
        find_image(host.layout, digest)._replace(names=tuple(names)) for digest, *names in found
    ]


def _full(name: str) -> str:
    return str(parse_reference(name, default_registry=LOCAL_REGISTRY))


def _send(host: Host, image: str, place: Place, on_event: "OnEvent | None") -> None:
    record = find_image(host.layout, image)
    if place.name:
        _full(place.name)
    with _Far(place, "rpod", "image", "receive", "--quiet") as far:
        try:
            send(host, record.image_id if not record.names else record.names[0], place.name,
                 far.reader, far.writer, on_event)  # fmt: skip
        except (InvalidArchive, BrokenPipeError) as error:
            code = far.end()
            if code and code != _NOT_FOUND:
                raise _failure(f"send {image} to {place.host}", code) from error
            if not code:
                raise
        else:
            far.check()
            return
    _send_archive(host, image, place, on_event)


def _send_archive(host: Host, image: str, place: Place, on_event: "OnEvent | None") -> None:
    """Send everything, for podman or docker on the other side."""
    from storage.save import SavedImage, save_images

    record = find_image(host.layout, image)
    names = (_full(place.name),) if place.name else record.names
    script = "if command -v podman >/dev/null; then exec podman load; else exec docker load; fi"
    with _Far(place, script) as far:
        saved = [SavedImage(record, names)]
        save_images(host.layout, saved, "docker-archive", far.writer, on_event)
        far.check()


def _fetch(host: Host, place: Place, name: str, on_event: "OnEvent | None") -> None:
    with _Far(place, *_sending(place, name)) as far:
        try:
            receive(host, far.reader, far.writer, on_event)
        except Exception as error:
            code = far.end()
            if code and code != _NOT_FOUND:
                raise _failure(f"fetch {place.name} from {place.host}", code) from error
            if not code:
                raise
        else:
            far.check()
            return
    _fetch_archive(host, place, name, on_event)


def _sending(place: Place, name: str) -> list[str]:
    words = ["rpod", "image", "send", "--quiet", "--", place.name]
    return [*words, *([_full(name)] if name else [])]


def _fetch_archive(host: Host, place: Place, name: str, on_event: "OnEvent | None") -> None:
    """Take everything, from podman or docker on the other side."""
    import shlex

    from rootless import images, naming

    word = shlex.quote(place.name)
    script = (
        f"if command -v podman >/dev/null; then exec podman save -- {word};"
        f" else exec docker save -- {word}; fi"
    )
    with _Far(place, script) as far:
        try:
            # The descriptor is opened once more: pipes can be, and it is inherited.
            records = images.load(host, f"/proc/self/fd/{far.reader}", on_event)
        except Exception as error:
            if code := far.end():
                raise _failure(f"fetch {place.name} from {place.host}", code) from error
            raise
        far.check()
    if name:
        naming.tag(host, records[0].manifest_digest, [name])


def _failure(doing: str, code: int) -> HostError:
    return HostError(
        f"{doing}: the other side ended with {code}",
        remedy="install rpod, podman or docker there"
        if code == _NOT_FOUND
        else "see what it said above",
    )


def _relay(there: Place, here: Place) -> None:
    """Let two other machines speak with each other; nothing is kept here."""
    to_here, from_there = os.pipe()
    to_there, from_here = os.pipe()
    sides = (
        (there, _sending(there, here.name), to_there, from_there),
        (here, ["rpod", "image", "receive", "--quiet"], to_here, from_here),
    )
    codes: dict[int, str] = {}
    processes = []
    try:
        for place, words, source, target in sides:
            processes.append(_start(_arguments(place, *words), source, target))
    finally:
        for fd in (to_here, from_there, to_there, from_here):
            os.close(fd)
        for process, side in zip(processes, sides, strict=False):
            codes.setdefault(process.wait(), side[0].host)
    codes.pop(0, None)
    # One that is not there lets the other fail, too.
    for code in sorted(codes, key=lambda one: one != _NOT_FOUND):
        raise HostError(
            f"copy {there.name} from {there.host} to {here.host}: {codes[code]} ended with {code}",
            remedy="rpod has to be installed on both" if code == _NOT_FOUND else "",
        )


def _arguments(place: Place, *command: str) -> list[str]:
    """Return how to run a command at a place: words, or one script for its shell."""
    import shlex

    if place.user:
        words = command if len(command) > 1 else ("sh", "-c", *command)
        return ["sudo", "-iu", place.user, "--", *words]
    # Several words go to a shell there: each is quoted, one alone is a script.
    script = shlex.join(command) if len(command) > 1 else command[0]
    return ["ssh", "-T", "--", place.host, script]


def _start(arguments: list[str], source: int, target: int) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(arguments, stdin=source, stdout=target, bufsize=0)
    except FileNotFoundError as error:
        package = {"ssh": "openssh-client"}.get(arguments[0], arguments[0])
        raise HostError(
            f"{arguments[0]} is not installed", remedy=f"install it: apt-get install {package}"
        ) from error


class _Far:
    """A command on another machine, or of another user; it tells its errors itself."""

    def __init__(self, place: Place, *command: str) -> None:
        self._host = place.host
        self._arguments = _arguments(place, *command)

    def __enter__(self) -> "_Far":
        self._process = _start(self._arguments, subprocess.PIPE, subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.writer = self._process.stdin.fileno()
        self.reader = self._process.stdout.fileno()
        return self

    def end(self) -> int:
        """Let it end, and return its exit code."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        return self._process.wait()

    def check(self) -> None:
        """Raise HostError when the other side has failed."""
        code = self.end()
        if code:
            raise _failure(f"copy an image to or from {self._host}", code)

    def __exit__(self, *details: object) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.end()
