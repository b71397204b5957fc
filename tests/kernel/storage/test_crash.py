"""Loading that is killed, doubled, or runs into an image that goes away."""

import os
import random
import signal
import threading
import time
from pathlib import Path

from rootless import images, naming
from storage.errors import ImageNotFound, StorageError
from tests.conftest import InAccount
from tests.kernel.storage import layers, views
from tests.kernel.storage.layers import Member


def _big_archive(share: Path) -> str:
    """Three layers of 8 MB that compress badly."""
    noise = random.Random(7)
    parts = [
        layers.layer([Member(f"l{n}/f{m}", noise.randbytes(80_000)) for m in range(100)])
        for n in range(3)
    ]
    path = share / "big.tar"
    path.write_bytes(layers.docker_archive(parts, "localhost/big:1"))
    return str(path)


def _kill_while_loading(store: str, path: str, after_s: float) -> bool:
    """Load in a child and kill all of it after a while; True when it was still at work."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        images.load(views.host_of(store), path)
        os._exit(0)
    time.sleep(after_s)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def test_killed_load_is_no_hindrance(in_account: InAccount, store: str, share: Path) -> None:
    path = _big_archive(share)
    killed = 0
    for step in range(8):
        killed += in_account(_kill_while_loading, store, path, 0.03 + 0.02 * step)
    assert killed
    assert in_account(views.load, store, path) == [["localhost/big:1"]]
    assert os.listdir(f"{store}/tmp") == [], "the next load cleans up"
    assert len(in_account(views.view, store, "big:1", "overlay")) == 303
    blobs, _, left = in_account(views.remove_image, store, "big:1")
    assert (blobs, left) == (6, [])


def _load_twice(store: str, path: str) -> tuple[list[list[list[str]]], int]:
    found: list[list[list[str]]] = []
    reported: list[str] = []
    host = views.host_of(store)

    def run() -> None:
        records = images.load(host, path, lambda event: reported.append(event.kind))
        found.append([list(record.names) for record in records])

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, reported.count("unpack-done")


def test_loads_at_once_unpack_each_layer_once(
    in_account: InAccount, store: str, share: Path
) -> None:
    found, unpacked = in_account(_load_twice, store, _big_archive(share))
    assert found == [[["localhost/big:1"]]] * 3
    assert unpacked == 3


def _load_and_remove(store: str, path: str) -> list[str]:
    """Load and remove the same image from two threads, again and again."""
    host = views.host_of(store)
    failures: list[str] = []

    def load() -> None:
        for _ in range(6):
            try:
                images.load(host, path)
            except ImageNotFound:
                # Loaded, and removed before it could be shown.
                continue
            except StorageError as error:
                failures.append(f"{type(error).__name__}: {error.message}")

    def remove() -> None:
        for _ in range(12):
            try:
                naming.remove(host, "big:1")
            except StorageError:
                time.sleep(0.01)
            images.collect(host)

    threads = [threading.Thread(target=load), threading.Thread(target=remove)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    images.load(host, path)
    return failures


def test_removing_beside_loading_never_leaves_half_an_image(
    in_account: InAccount, store: str, share: Path
) -> None:
    failures = in_account(_load_and_remove, store, _big_archive(share))
    assert failures == []
    assert len(in_account(views.view, store, "big:1", "overlay")) == 303
