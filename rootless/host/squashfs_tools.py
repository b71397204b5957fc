"""squashfs-tools and squashfuse: whether they can be used here, and how they are run."""

import os

from rootless.errors import HostError
from rootless.host import probe
from rootless.host.paths import Host
from rootless.host.programs import find_program, install_command
from rootless.linux.userns import IdMaps, run_in_userns
from rootless.sandbox.drivers import OVERLAY
from rootless.sandbox.root import mount_overlay
from storage.errors import from_os_error
from storage.scratch import Scratch
from storage.squashfs import trailer

SERVERS = ("squashfuse_ll", "squashfuse")
_ZSTD_LEVEL = 6
# unsquashfs(1): its exit status when some files could not be made.
_UNSQUASHFS_PARTLY = 2
_NO_DEVICES = "you're not superuser"


def why_not_mounted(host: Host) -> str:
    """Return why a squashfs cannot be the root of a container here, or ""."""
    if not any(find_program(name, host.environ) for name in SERVERS):
        return f"squashfuse is not installed ({install_command('squashfuse')})"
    if problem := probe.open_device(probe.FUSE):
        return problem
    driver = probe.storage_driver(host)
    return "" if driver == OVERLAY else f"the storage driver is {driver}"


def squash_kind(maps: IdMaps) -> str:
    """Return the kind of a squashfs: with a single id owners are attributes of its files."""
    return "one" if maps.is_single else "many"


def why_not_trusted(host: Host, fd: int) -> str:
    """Return why a squashfs that others have written is not mounted for this user, or ""."""
    found = os.fstat(fd)
    if found.st_mode & 0o022:
        return "others may write to its squashfs"
    if found.st_uid in (0, host.uid):
        return ""
    names = [str(found.st_uid)]
    import pwd

    try:
        names.append(pwd.getpwuid(found.st_uid).pw_name)
    except KeyError:
        pass
    if set(names) & set(host.config.trusted_publishers):
        return ""
    return f"{names[-1]}, who wrote its squashfs, is none of trusted_publishers"


def write_squashfs(
    host: Host, layers: list[str], config: bytes, path: str, *, compression: str = "zstd"
) -> None:
    """Write unpacked layers, the top one first, as a squashfs that appears whole or not at all.

    Raises HostError, StoreUnusable, DiskFull.
    """
    program = find_program("mksquashfs", host.environ)
    if program is None:
        raise HostError(
            "make a squashfs: squashfs-tools is not installed", remedy=install_command("mksquashfs")
        )
    unfinished = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    options = ["-noappend", "-no-progress", "-quiet", "-comp", compression]
    if compression == "zstd":
        options += ["-Xcompression-level", str(_ZSTD_LEVEL)]
    options += ["-processors", str(len(os.sched_getaffinity(0)))]
    try:
        with Scratch(host.layout, "squash") as scratch:
            merged = f"{scratch.path}/merged"
            os.mkdir(merged, 0o755)
            os.mkdir(f"{merged}/empty", 0o755)

            def work(_: object) -> object:
                # An overlay without a writable layer has at least two.
                mount_overlay(merged, [*layers, f"{merged}/empty"], read_only=True)
                return run_tool([program, merged, unfinished, *options])

            problem = run_in_userns(work, host.id_maps(), new_mounts=True)
        if problem:
            raise HostError(f"make {path}: {problem}", remedy="free space, or raise the quota")
        with open(unfinished, "ab") as file:
            file.write(trailer(config))
            # Who reads it wants to know that nobody else has written to it.
            os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode & 0o755)
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, path)
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error
    finally:
        if os.path.lexists(unfinished):
            os.unlink(unfinished)


_REASON = "failed because "


def run_tool(words: list[str]) -> str:
    """Run one of squashfs-tools; return what it complained about last, "" when nothing is amiss."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, writer, 2),
    ]
    child = os.posix_spawn(words[0], words, {"PATH": "/usr/bin:/bin"}, file_actions=actions)
    os.close(writer)
    said = b""
    while chunk := os.read(reader, 4096):
        said = (said + chunk)[-65536:]
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    if status == _UNSQUASHFS_PARTLY:
        # Device nodes are left out as from any layer; anything else that is missing counts.
        lines = [line for line in lines if _NO_DEVICES not in line]
        return lines[-1] if lines else ""
    # mksquashfs says why before it says that.
    lines.sort(key=lambda line: _REASON in line)
    return (lines[-1] if lines else f"exit status {status}") if status else ""
