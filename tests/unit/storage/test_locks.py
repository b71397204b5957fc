import os
import stat
import threading
from pathlib import Path

from storage.files import Lock
from storage.gc import collect
from tests.unit.storage.stores import add_image, new_store


def test_second_holder_waits_or_is_told(tmp_path: Path) -> None:
    first, second = Lock(f"{tmp_path}/lock"), Lock(f"{tmp_path}/lock")
    assert first.acquire()
    assert not second.acquire(wait=False)
    first.release()
    assert second.acquire(wait=False)
    second.release()


def test_shared_holders_are_many(tmp_path: Path) -> None:
    with Lock(f"{tmp_path}/lock", shared=True), Lock(f"{tmp_path}/lock", shared=True):
        assert not Lock(f"{tmp_path}/lock").acquire(wait=False)


def test_released_lock_does_not_stay_with_a_forked_child(tmp_path: Path) -> None:
    lock = Lock(f"{tmp_path}/lock")
    lock.acquire()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    lock.release()
    assert Lock(f"{tmp_path}/lock").acquire(wait=False)
    os.close(writer)
    os.close(reader)
    os.waitpid(pid, 0)


def test_lock_file_may_be_removed_by_its_holder(tmp_path: Path) -> None:
    """Nobody may hold a lock on a file that has lost its name."""
    path = f"{tmp_path}/lock"
    inside = 0
    most = 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(100):
            lock = Lock(path)
            lock.acquire()
            with guard:
                inside += 1
                most = max(most, inside)
            with guard:
                inside -= 1
            os.unlink(path)
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_collecting_leaves_no_lock_files_but_those_in_use(tmp_path: Path) -> None:
    layout = new_store(tmp_path)
    add_image(layout, "localhost/a:1", [{"f": b"1"}])
    with Lock(layout.lock("layer-aa")), Lock(layout.lock("blob-bb")):
        Path(layout.lock("blob-cc")).touch()
        collect(layout)
        names = [n for n in os.listdir(layout.locks_dir) if n.startswith(("layer-", "blob-"))]
        assert sorted(names) == ["blob-bb", "layer-aa"]


def test_lock_file_may_be_opened_by_the_caller_when_a_subordinate_id_made_it(
    tmp_path: Path,
) -> None:
    old = os.umask(0o077)
    try:
        with Lock(f"{tmp_path}/lock"):
            assert stat.S_IMODE(os.stat(f"{tmp_path}/lock").st_mode) == 0o666
    finally:
        os.umask(old)
