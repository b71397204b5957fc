"""What a regular user's user namespace shows of an image: by overlay, by fuse, as a copy."""

import hashlib
import importlib
import os
import resource
import stat
import subprocess
import threading

from rootless import images, naming
from rootless.host.paths import Host, open_host
from rootless.linux.userns import run_in_userns
from storage.archive import load_archive
from storage.errors import StorageError
from storage.flatten import flatten
from storage.gc import collect
from storage.images import find_image, list_images
from storage.images import remove_image as remove_record
from storage.layout import Layout

Tree = dict[str, list[object]]
"""path -> [mode, uid, gid, links, mtime, content, attributes]"""


def host_of(store: str) -> Host:
    """Open a store of the calling account."""
    return open_host(root=store)


def load(store: str, path: str) -> list[list[str]]:
    """Load an archive; return the names of each image."""
    return [list(record.names) for record in images.load(host_of(store), path)]


def load_notes(store: str, path: str) -> list[str]:
    """Load an archive; return what it told about things that could not be kept."""
    notes: list[str] = []
    images.load(host_of(store), path, lambda event: notes.append(event.text))
    return [note for note in notes if note]


def load_within(store: str, path: str, more_bytes: int) -> list[list[str]]:
    """Load with so much memory beyond what the interpreter has now."""
    for name in ("storage.archive", "xattr", "isal.igzip_lib", "hashlib"):
        importlib.import_module(name)
    with open("/proc/self/statm", encoding="ascii") as statm:
        now = int(statm.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    # Threads reserve address space for their stacks without using it.
    threading.stack_size(1 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, now + more_bytes))
    return load(store, path)


def failed_load(store: str, path: str) -> tuple[str, str, list[str]]:
    """Load what cannot be loaded; return the error, its message and what is left in the store."""
    host = host_of(store)
    try:
        images.load(host, path)
    except StorageError as error:
        return type(error).__name__, error.message, _left(host)
    return "", "", _left(host)


def _left(host: Host) -> list[str]:
    layout = host.layout
    found = []
    for directory in (layout.tmp_dir, layout.partial_dir, layout.images_dir, layout.names_dir):
        found += [f"{directory}/{name}" for name in os.listdir(directory)]
    return found


def view(store: str, name: str, how: str) -> Tree:
    """Show an image as root of the namespace; `how` is overlay, fuse or copy."""
    host = host_of(store)
    record = find_image(host.layout, name)
    key = images.default_key(host)
    mount = f"{store}-{how}-{os.urandom(4).hex()}"
    os.mkdir(mount)
    lower = ":".join(host.layout.layer_diff(key, chain) for chain in reversed(record.chain_ids))
    commands = {
        "overlay": ["mount", "-t", "overlay", "-o", f"ro,userxattr,lowerdir={lower}", "o", mount],
        "fuse": ["fuse-overlayfs", "-o", f"lowerdir={lower}", mount],
    }

    def show(_: object) -> object:
        if how == "copy":
            flatten(host.layout, key, record.chain_ids, mount)
            return tree_of(mount)
        subprocess.run(commands[how], check=True, capture_output=True)
        try:
            return tree_of(mount)
        finally:
            subprocess.run(["umount", mount], check=True)

    found = run_in_userns(show, host.id_maps(), new_mounts=True)
    assert isinstance(found, dict)
    return found


def tree_of(root: str) -> Tree:
    """Describe everything below a directory."""
    found: Tree = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory, name)
            entry = os.lstat(path)
            content = ""
            if stat.S_ISLNK(entry.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(entry.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()[:8]
            found[os.path.relpath(path, root)] = [
                stat.filemode(entry.st_mode),
                entry.st_uid,
                entry.st_gid,
                0 if stat.S_ISDIR(entry.st_mode) else entry.st_nlink,
                int(entry.st_mtime),
                content,
                {
                    key: os.getxattr(path, key, follow_symlinks=False).hex()
                    for key in os.listxattr(path, follow_symlinks=False)
                },
            ]
    return found


def remove_image(store: str, name: str) -> tuple[int, int, list[str]]:
    """Remove an image and its garbage; return blobs, layers, and what is left in the store."""
    host = host_of(store)
    naming.remove(host, name)
    result = images.collect(host)
    left = _left(host)
    for directory in (host.layout.blobs_dir, *_key_directories(host)):
        left += [f"{directory}/{name}" for name in os.listdir(directory)]
    return result.blobs, result.layers, left


def _key_directories(host: Host) -> list[str]:
    top = host.layout.all_layers_dir
    return [f"{top}/{name}" for name in os.listdir(top)]


def remove_store(store: str) -> None:
    """Remove a store whose layers belong to ids of the namespace."""
    from storage.remove import remove_tree

    host = host_of(store)
    run_in_userns(lambda _: remove_tree(store), host.id_maps())


def fill_small_disk(store: str, fits: str, too_big: str) -> list[object]:
    """Load on a disk of 6 MiB what fits and then what does not, and remove what fitted.

    Returns the error, what the store has after it, and how many blobs and layers went at the end.
    """
    host = host_of(store)
    key = images.default_key(host)

    def work(_: object) -> object:
        layout = Layout(f"{store}-disk", f"{store}-run")
        os.mkdir(layout.store)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "t", layout.store], check=True)
        load_archive(layout, fits, key)
        try:
            load_archive(layout, too_big, key)
        except StorageError as error:
            failure = [type(error).__name__, error.message, error.remedy]
        else:
            failure = []
        left = [image.names for image in list_images(layout)]
        scraps = os.listdir(layout.tmp_dir) + os.listdir(layout.partial_dir)
        with open(f"{layout.store}/filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
            # The last page that a rename or a record may still need is taken, too.
        for image in list(left):
            remove_record(layout, image[0])
        result = collect(layout)
        return [failure, left, scraps, result.blobs, result.layers]

    found = run_in_userns(work, host.id_maps(), new_mounts=True)
    assert isinstance(found, list)
    return found
