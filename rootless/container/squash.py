"""A squashfs file as the lower layer of a container's root.

The kernel mounts no squashfs for a user, but FUSE: a helper joins the container's namespaces, opens
/dev/fuse there (the kernel wants it opened in the user namespace of the mount), mounts, and hands
the descriptor out. The server, squashfuse_ll, runs outside with the file and that descriptor alone.
It reads its end there when the last mount namespace with the mount has gone, whoever is killed.
"""

import os

from rootless.errors import HostError
from rootless.host.programs import find_program, install_command
from rootless.host.squashfs_tools import SERVERS
from rootless.linux import syscalls
from rootless.linux.userns import become_root
from rootless.sandbox.channel import Channel
from rootless.sandbox.root import Root
from storage import lightjson as json
from storage.files import read_file
from storage.squashfs import SquashFile, open_squash_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.container.fuse import Namespaces

_SOURCE = "source.json"
_FUSE = "/dev/fuse"


def source_path(stub: str) -> str:
    """Return the file that says which squashfs the layer directory `stub` stands for."""
    return f"{os.path.dirname(stub)}/{_SOURCE}"


def find_server() -> str:
    """Return the path of the FUSE server. Raises HostError."""
    for name in SERVERS:
        if path := find_program(name):
            return path
    raise HostError(
        "mount a squashfs: squashfuse is not installed", remedy=install_command("squashfuse_ll")
    )


def mount(root: Root, namespaces: "Namespaces") -> int:
    """Mount the squashfs of `root` in these namespaces and close them.

    Returns a pipe that ends when the server has. Raises HostError.
    """
    find_server()
    source = open_source(root.lower[0])
    ours, theirs = Channel.pair()
    helper = os.fork()
    if helper == 0:
        try:
            ours.close()
            namespaces.enter()
            theirs.send(b"f", mount_fuse(root.rootfs))
            os._exit(0)
        except OSError as error:
            theirs.send(f"{error.filename or ''} {error.strerror}".strip().encode())
        finally:
            os._exit(1)
    theirs.close()
    namespaces.close()
    said, connection = ours.receive()
    ours.close()
    os.waitpid(helper, 0)
    if connection < 0:
        os.close(source)
        text = said.decode(errors="replace") or "the helper was killed"
        raise HostError(f"mount a squashfs on {root.rootfs}: {text}", remedy="run `rpod doctor`")
    life, held = os.pipe2(os.O_CLOEXEC)
    os.set_inheritable(held, True)
    try:
        serve(source, connection, offset_of(root.lower[0]))
    finally:
        os.close(held)
    return life


def open_source(stub: str) -> int:
    """Open the squashfs of a layer directory. Raises HostError, InvalidArchive, StoreUnusable."""
    known = read_source(stub)
    fd, found = open_squash_file(str(known["path"]))
    if found.identity != known["identity"]:
        os.close(fd)
        raise HostError(
            f"use {found.path}: the file has changed since the container was made",
            remedy="make a new container from it",
        )
    return fd


def read_source(stub: str) -> dict[str, object]:
    """Return path, identity and offset of the squashfs. Raises HostError."""
    path = source_path(stub)
    try:
        known = json.loads(read_file(path))
        return {key: known[key] for key in ("path", "identity", "offset")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostError(
            f"read {path}: {error}", remedy="remove the container and make it again"
        ) from error


def offset_of(stub: str) -> int:
    offset = read_source(stub)["offset"]
    assert isinstance(offset, int)
    return offset


def source_record(file: SquashFile) -> bytes:
    """Return what `read_source` reads."""
    return json.dumps(
        {"version": 1, "path": file.path, "identity": file.identity, "offset": file.offset}
    ).encode()


def mount_fuse(target: str) -> int:
    """Mount FUSE on a directory, in the namespaces of this process; return the connection.

    The directory is opened while the process still has the caller's id. Raises OSError.
    """
    place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = os.open(_FUSE, os.O_RDWR | os.O_CLOEXEC)
    become_root()
    options = (
        f"fd={connection},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()},"
        "allow_other,default_permissions"
    )
    flags = syscalls.MS_RDONLY | syscalls.MS_NODEV
    syscalls.mount("squashfuse", f"/proc/self/fd/{place}", "fuse.squashfuse", flags, options)
    os.close(place)
    return connection


def serve(source: int, connection: int, offset: int) -> int:
    """Start the server with both descriptors, close them here, and return its process id."""
    program = find_server()
    words = [program, "-f", "-o", f"offset={offset}"]
    words += [f"/proc/self/fd/{source}", f"/dev/fd/{connection}"]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    try:
        for fd in (source, connection):
            os.set_inheritable(fd, True)
        return os.posix_spawn(program, words, {"PATH": "/usr/bin:/bin"}, file_actions=actions)
    except OSError as error:
        raise HostError(f"start {program}: {error.strerror}") from error
    finally:
        os.close(source)
        os.close(connection)
