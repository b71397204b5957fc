"""fuse-overlayfs as the root of a container, for hosts whose overlay cannot be used.

The server must not live in the container's mount namespace: pivot_root(2) would change its root
directory, and the namespace would live as long as the server, and so would the mount. It gets a
copy of the namespace, its mount is cloned into the container's and taken away from its own; when
the container has ended nothing is mounted any more, and the server ends.
"""

import os

from rootless.errors import HostError
from rootless.linux import syscalls
from rootless.sandbox.drivers import SQUASH
from rootless.sandbox.root import Root

PROGRAM = "fuse-overlayfs"
_SAID_BYTES = 4096
# In the server's own mount namespace, where nothing else needs it.
_STORE = "/tmp"  # noqa: S108


class Namespaces:
    """Descriptors of a child's user and mount namespaces.

    They are opened before the child takes another id or makes itself untraceable; afterwards
    ptrace(2) access, which the kernel asks for, is refused.
    """

    __slots__ = ("mount", "user")

    def __init__(self, pid: int) -> None:
        self.user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        self.mount = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def enter(self) -> None:
        """Join both. Raises OSError."""
        if not os.path.samestat(os.fstat(self.user), os.stat("/proc/self/ns/user")):
            # The own one cannot be joined again (setns(2), EINVAL).
            syscalls.setns(self.user, syscalls.CLONE_NEWUSER)
        syscalls.setns(self.mount, syscalls.CLONE_NEWNS)

    def close(self) -> None:
        os.close(self.user)
        os.close(self.mount)


def mount(root: Root, namespaces: Namespaces) -> int:
    """Mount `root` in these namespaces and close them.

    Returns a pipe that ends when the server has: then all is on disk. Raises HostError.
    """
    if root.driver == SQUASH:
        from rootless.container.squash import mount as mount_squash

        return mount_squash(root, namespaces)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    life, held = os.pipe2(os.O_CLOEXEC)
    helper = os.fork()
    if helper == 0:
        try:
            os.set_inheritable(held, True)
            _mount(root, namespaces, writer)
            os._exit(0)
        except OSError as error:
            os.write(writer, f"{error.filename or ''} {error.strerror}".strip().encode())
        finally:
            os._exit(1)
    os.close(writer)
    os.close(held)
    namespaces.close()
    _, status = os.waitpid(helper, 0)
    os.set_blocking(reader, False)
    try:
        said = os.read(reader, _SAID_BYTES) if status else b""
    except BlockingIOError:
        said = b""
    os.close(reader)
    if status:
        os.close(life)
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise HostError(f"mount {PROGRAM} on {root.rootfs}: {last}", remedy="run `rpod doctor`")
    return life


def _mount(root: Root, namespaces: Namespaces, messages: int) -> None:
    """Body of the helper, which goes there and back. Raises OSError."""
    namespaces.enter()
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    # fuse-overlayfs knows no way to write ":" in a path, so the store gets a name without.
    store = os.path.commonpath([root.rootfs, root.upper, root.work, *root.lower])
    syscalls.mount(store, _STORE, "", syscalls.MS_BIND | syscalls.MS_REC)
    rootfs, upper, work, *lower = (
        _STORE + path.removeprefix(store)
        for path in (root.rootfs, root.upper, root.work, *root.lower)
    )
    places = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
    _serve(places + root.mapping, rootfs, messages)
    tree = syscalls.open_tree(syscalls.AT_FDCWD, rootfs, syscalls.OPEN_TREE_CLONE)
    syscalls.umount2(rootfs, syscalls.MNT_DETACH)
    syscalls.setns(namespaces.mount, syscalls.CLONE_NEWNS)
    syscalls.move_mount(tree, os.open(root.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def _serve(options: str, rootfs: str, messages: int) -> None:
    """Start the server; it goes to the background once it has mounted."""
    server = os.fork()
    if server == 0:
        try:
            os.dup2(messages, 2)
            os.execvp(PROGRAM, [PROGRAM, "-o", options, rootfs])
        except OSError as error:
            os.write(messages, f"start {PROGRAM}: {error.strerror}".encode())
        finally:
            os._exit(127)
    _, status = os.waitpid(server, 0)
    if status:
        os._exit(1)
