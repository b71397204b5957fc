"""Programs of the host: where they are, what package brings them, what they print."""

import os
import time

from rootless.errors import HostError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A user's PATH often lacks the sbin directories; setuid helpers and mount programs live there too.
_ALWAYS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")

_PACKAGES = {
    # program: debian, fedora, suse, arch, alpine
    "newuidmap": ("uidmap", "shadow-utils-subid", "shadow", "shadow", "shadow-uidmap"),
    "slirp4netns": ("slirp4netns", "slirp4netns", "slirp4netns", "slirp4netns", "slirp4netns"),
    "pasta": ("passt", "passt", "passt", "passt", "passt"),
    "fuse-overlayfs": (
        "fuse-overlayfs",
        "fuse-overlayfs",
        "fuse-overlayfs",
        "fuse-overlayfs",
        "fuse-overlayfs",
    ),
    "fusermount3": ("fuse3", "fuse3", "fuse3", "fuse3", "fuse3"),
}
for _name in ("squashfuse", "squashfuse_ll"):
    _PACKAGES[_name] = ("squashfuse",) * 5
for _name in ("mksquashfs", "unsquashfs"):
    _PACKAGES[_name] = ("squashfs-tools", "squashfs-tools", "squashfs", *("squashfs-tools",) * 2)
_PACKAGES["newgidmap"] = _PACKAGES["newuidmap"]

_INSTALLERS = (
    (("debian", "ubuntu"), "sudo apt-get install -y", 0),
    (("fedora", "rhel", "centos"), "sudo dnf install -y", 1),
    (("suse", "opensuse"), "sudo zypper install -y", 2),
    (("arch",), "sudo pacman -S --needed", 3),
    (("alpine",), "sudo apk add", 4),
)


class Output(NamedTuple):
    """`status` is the exit status: 128 + signal when killed, 127 when it could not start."""

    status: int
    stdout: str
    stderr: str


def find_program(name: str, environ: "Mapping[str, str]" = os.environ) -> str | None:
    """Return the path of an installed program, or None."""
    seen = environ.get("PATH", "").split(":")
    for directory in (*seen, *_ALWAYS):
        # A relative PATH entry would run whatever the current directory holds.
        if directory.startswith("/"):
            path = f"{directory}/{name}"
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                return path
    return None


def run_program(arguments: "Sequence[str]", *, timeout_s: float = 5.0) -> Output:
    """Run a program without input in the C locale and return what it printed.

    Raises HostError when it does not end within `timeout_s` (it is killed then).
    """
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    try:
        pid = os.posix_spawn(
            arguments[0],
            list(arguments),
            {**os.environ, "LC_ALL": "C"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, out_write, 1),
                (os.POSIX_SPAWN_DUP2, err_write, 2),
            ],
        )
    except OSError as error:
        os.close(out_read)
        os.close(err_read)
        return Output(127, "", f"{arguments[0]}: {error.strerror}")
    finally:
        os.close(out_write)
        os.close(err_write)
    try:
        texts = _read_all((out_read, err_read), time.monotonic() + timeout_s)
    except TimeoutError:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        raise HostError(f"run {' '.join(arguments)}: no answer within {timeout_s:g} s") from None
    finally:
        os.close(out_read)
        os.close(err_read)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Output(code if code >= 0 else 128 - code, texts[0], texts[1])


def _read_all(descriptors: tuple[int, ...], deadline_s: float) -> list[str]:
    import select

    parts: dict[int, list[bytes]] = {fd: [] for fd in descriptors}
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    open_count = len(descriptors)
    while open_count:
        left_ms = int((deadline_s - time.monotonic()) * 1000)
        ready = poll.poll(max(left_ms, 0))
        if not ready:
            raise TimeoutError
        for fd, _ in ready:
            chunk = os.read(fd, 65536)
            if chunk:
                parts[fd].append(chunk)
            else:
                poll.unregister(fd)
                open_count -= 1
    return [b"".join(parts[fd]).decode("utf-8", "replace") for fd in descriptors]


def read_text(path: str, *, limit_bytes: int = 1 << 20) -> str:
    """Return the content of a small file of the host, "" when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.read(fd, limit_bytes).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def os_release(path: str = "/etc/os-release") -> dict[str, str]:
    """Return the fields of os-release(5)."""
    fields = {}
    for line in (read_text(path) or read_text("/usr/lib/os-release")).splitlines():
        key, separator, value = line.partition("=")
        if separator and not key.startswith("#"):
            fields[key.strip()] = value.strip().strip("\"'")
    return fields


def install_command(program: str, release: "Mapping[str, str] | None" = None) -> str:
    """Return the command that installs `program` on this distribution."""
    fields = os_release() if release is None else release
    family = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".split()
    packages = _PACKAGES.get(program, (program,) * 5)
    for names, command, column in _INSTALLERS:
        if any(word.startswith(name) for word in family for name in names):
            return f"{command} {packages[column]}"
    return f"install {packages[0]} with this system's package manager"
