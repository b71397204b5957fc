"""What this host can do, found out by doing it once for each boot, store device and user.

Ladder of the root file system: native overlay in a user namespace, fuse-overlayfs, a copied tree.
Ladder of the network: slirp4netns, pasta; below that there is nothing that keeps the promise of a
network of one's own, so it is an error that names `--network=host` and `--network=none`.
"""

import errno
import os

from rootless.errors import HostError, NetworkError, RootlessError
from rootless.host.paths import Host, boot_id
from rootless.host.programs import find_program, install_command
from storage import lightjson as json
from storage.errors import StoreUnusable
from storage.files import read_file, write_file
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TUN = "/dev/net/tun"
# What podman, docker and Kubernetes put into a container.
_OUTER = ("/run/.containerenv", "/.dockerenv", "/var/run/secrets/kubernetes.io")
FUSE = "/dev/fuse"


class StorageChoice(NamedTuple):
    """The driver and, for each better one, why it was not taken."""

    driver: str
    reasons: tuple[str, ...] = ()


def storage_driver(host: Host) -> str:
    """Return "overlay", "fuse-overlayfs" or "copy"; a lower rung leaves a note.

    Raises NoUserNamespace, IdMapError, StoreUnusable.
    """
    choice = storage_choice(host)
    if choice.driver != "overlay" and not host.config.storage_driver:
        cost = {
            "fuse-overlayfs": "file access in containers is slower",
            "copy": "each container copies its image",
        }[choice.driver]
        host.note(f"storage driver {choice.driver} ({'; '.join(choice.reasons)}): {cost}")
    return choice.driver


def storage_choice(host: Host) -> StorageChoice:
    """Return the configured driver, or the cached or fresh result of trying them in order."""
    if host.config.storage_driver:
        return StorageChoice(host.config.storage_driver, ("set in the configuration",))
    key = _cache_key(host)
    cached = _read_cache(host, key)
    if cached is not None:
        return cached
    choice = _try_drivers(host)
    _write_cache(host, key, choice)
    return choice


def forget(host: Host) -> None:
    """Let the next command try everything again."""
    try:
        os.unlink(host.layout.host_file)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # No usable run root: nothing is remembered there either.
        pass


def _try_drivers(host: Host) -> StorageChoice:
    reasons: list[str] = []
    for driver, attempt in (("overlay", try_overlay), ("fuse-overlayfs", try_fuse_overlayfs)):
        problem = attempt(host)
        if not problem:
            return StorageChoice(driver, tuple(reasons))
        reasons.append(f"{driver}: {problem}")
    return StorageChoice("copy", tuple(reasons))


def _cache_key(host: Host) -> str:
    try:
        device = os.stat(host.layout.store).st_dev
    except OSError as error:
        raise StoreUnusable(f"open the store {host.layout.store}: {error.strerror}") from error
    return f"{boot_id()} {device} {host.uid} {host.id_maps().is_single}"


def _read_cache(host: Host, key: str) -> StorageChoice | None:
    try:
        found = json.loads(read_file(host.layout.host_file, limit_bytes=65536))
        # Copying is dear enough to look each time whether something better has been installed.
        if found["key"] == key and found["driver"] in ("overlay", "fuse-overlayfs"):
            return StorageChoice(found["driver"], tuple(map(str, found["reasons"])))
    except (OSError, ValueError, KeyError, TypeError):
        # Missing, or written by something else: it is only a cache.
        pass
    return None


def _write_cache(host: Host, key: str, choice: StorageChoice) -> None:
    record = {"version": 1, "key": key, "driver": choice.driver, "reasons": choice.reasons}
    try:
        write_file(host.layout.host_file, json.dumps(record).encode(), sync=False)
    except OSError as error:
        # A full or vanished run root costs the next command one probe.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOENT):
            raise


def try_overlay(host: Host) -> str:
    """Mount and use an overlay on the store's file system; return why it fails, or ""."""
    from rootless.linux import syscalls

    def mount() -> None:
        syscalls.mount(
            "overlay",
            "merged",
            "overlay",
            syscalls.MS_NODEV,
            "lowerdir=lower,upperdir=upper,workdir=work,userxattr",
        )

    return _try_in_namespace(host, mount)


def try_fuse_overlayfs(host: Host) -> str:
    """Mount and use fuse-overlayfs on the store's file system; return why it fails, or ""."""
    program = find_program("fuse-overlayfs", host.environ)
    if program is None:
        return f"not installed ({install_command('fuse-overlayfs')})"
    if problem := open_device(FUSE):
        return problem
    arguments = [program, "-o", "lowerdir=lower,upperdir=upper,workdir=work", "merged"]

    def mount() -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        # fuse-overlayfs goes into the background once it is mounted and ends with the mount.
        pid = os.posix_spawn(
            program,
            arguments,
            {"PATH": "/usr/bin:/bin"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, writer, 1),
                (os.POSIX_SPAWN_DUP2, writer, 2),
            ],
        )
        os.close(writer)
        _, status = os.waitpid(pid, 0)
        if status:
            said = os.read(reader, 4096).decode(errors="replace").strip()
            raise HostError(said or f"exit status {os.waitstatus_to_exitcode(status)}")

    return _try_in_namespace(host, mount)


def open_device(path: str) -> str:
    """Open a device node for reading and writing; return why it fails, or ""."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def _try_in_namespace(host: Host, mount: "Callable[[], None]") -> str:
    from rootless.linux import syscalls
    from rootless.linux.userns import run_in_userns
    from storage.scratch import Scratch

    def attempt(_emit: "Callable[[object], None]") -> object:
        os.chdir(base)
        try:
            mount()
            try:
                return _exercise()
            finally:
                syscalls.umount2("merged", syscalls.MNT_DETACH)
        except HostError as error:
            return error.message
        except OSError as error:
            call = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
            return f"{error.strerror}{call}"

    # Its lock keeps others from taking it for something that a killed command has left.
    with Scratch(host.layout, "probe") as scratch:
        base = f"{scratch.path}/root"
        try:
            _make_tree(base)
        except OSError as error:
            return f"{base}: {error.strerror}"
        try:
            return str(run_in_userns(attempt, host.id_maps(), new_mounts=True))
        finally:
            _remove_tree(base)


def _make_tree(base: str) -> None:
    for name in ("", "lower", "lower/directory", "upper", "work", "merged"):
        os.mkdir(f"{base}/{name}", 0o755)
    for name in ("lower/file", "lower/directory/inner"):
        os.close(os.open(f"{base}/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _exercise() -> str:
    """Do what an image's layers need: change, delete, and replace a directory."""
    os.chmod("merged/file", 0o600)
    os.unlink("merged/file")
    os.unlink("merged/directory/inner")
    os.rmdir("merged/directory")
    os.mkdir("merged/directory")
    with open("merged/directory/new", "wb") as file:
        file.write(b"content")
    if os.listdir("merged") != ["directory"] or os.listdir("merged/directory") != ["new"]:
        return "deleted files of a lower layer come back"
    return ""


def _remove_tree(base: str) -> None:
    try:
        names = os.listdir(base)
    except OSError:
        return
    for name in names:
        path = f"{base}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            # overlayfs leaves work/work with mode 0.
            os.chmod(path, 0o700)
            _remove_tree(path)
        else:
            os.unlink(path)
    os.rmdir(base)


def network_backend(host: Host) -> str:
    """Return "slirp4netns" or "pasta"; the second leaves a note.

    Raises NetworkError when neither can work.
    """
    problem = open_device(TUN)
    if problem:
        raise NetworkError(
            f"give the container a network of its own: {problem}", remedy=tun_remedy(problem)
        )
    if find_program("slirp4netns", host.environ):
        return "slirp4netns"
    if find_program("pasta", host.environ):
        host.note(f"slirp4netns is not installed ({install_command('slirp4netns')}): using pasta")
        return "pasta"
    raise NetworkError(
        "give the container a network of its own: slirp4netns is not installed",
        remedy=f"{install_command('slirp4netns')}, or use --network=host or --network=none",
    )


def tun_remedy(problem: str) -> str:
    """Return how to make /dev/net/tun usable."""
    if os.path.exists(TUN):
        fix = f"sudo chmod 666 {TUN}"
    elif any(map(os.path.exists, _OUTER)):
        fix = f"start the container that rpod runs in with --device {TUN}"
    elif "No such device" in problem:
        fix = "sudo modprobe tun"
    else:
        fix = f"sudo modprobe tun; sudo mkdir -p /dev/net; sudo mknod -m 666 {TUN} c 10 200"
    return f"{fix}, or use --network=host or --network=none"


def failure_text(error: Exception) -> str:
    """Return the message of an error of this project, else its text."""
    return error.message if isinstance(error, RootlessError) else str(error)
