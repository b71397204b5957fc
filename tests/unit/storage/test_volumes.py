import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import volumes
from storage.containers import ContainerRecord, new_id
from storage.errors import (
    Ambiguous,
    InUse,
    InvalidDocument,
    NameTaken,
    StorageError,
    StoreUnusable,
    VolumeNotFound,
)
from storage.files import Lock, make_store
from storage.layout import Layout
from storage.scratch import sweep


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path / "store"), str(tmp_path / "run"))
    make_store(layout)
    return layout


def names(layout: Layout) -> list[str]:
    return [record.name for record in volumes.list_volumes(layout)]


def add_container(layout: Layout, *volume_names: str) -> str:
    """Write the record of a container that uses volumes."""
    container_id = new_id()
    paths = layout.container(container_id)
    os.mkdir(paths.directory)
    empty: dict[str, object] = {
        "id": container_id,
        "mounts": [{"Type": "volume", "Name": name} for name in volume_names]
        + [{"Type": "bind", "Source": "/x"}],
    }
    values = {
        "str": "",
        "int": 0,
        "bool": False,
        "tuple": [],
        "dict": {},
    }
    for field, kind in ContainerRecord.__annotations__.items():
        if field != "version":
            empty.setdefault(field, values[getattr(kind, "__name__", "tuple")])
    Path(paths.record).write_text(json.dumps(empty))
    return container_id


def test_a_created_volume_is_listed_and_has_its_directory(layout: Layout) -> None:
    record = volumes.create_volume(layout, "data", labels={"a": "b"})
    assert volumes.list_volumes(layout) == [record]
    assert volumes.find_volume(layout, "data") == record
    assert record.labels == {"a": "b"}
    assert not record.anonymous
    path = volumes.mountpoint(layout, record)
    assert os.listdir(path) == []
    assert os.stat(path).st_mode & 0o777 == 0o755
    assert os.stat(layout.volume("data")).st_mode & 0o777 == 0o700


def test_a_volume_without_a_name_gets_64_hex_digits(layout: Layout) -> None:
    record = volumes.create_volume(layout)
    assert record.anonymous
    assert len(record.name) == 64
    assert set(record.name) <= set("0123456789abcdef")


def test_a_taken_name_is_refused_or_ignored(layout: Layout) -> None:
    first = volumes.create_volume(layout, "data", labels={"first": "yes"})
    with pytest.raises(NameTaken, match="volume with name data already exists"):
        volumes.create_volume(layout, "data")
    assert volumes.create_volume(layout, "data", exist_ok=True) == first


def test_ensure_makes_once_and_keeps_what_is_there(layout: Layout) -> None:
    path = volumes.ensure_volume(layout, "data")
    Path(path, "file").write_text("kept")
    assert volumes.ensure_volume(layout, "data") == path
    assert Path(path, "file").read_text() == "kept"
    assert not volumes.find_volume(layout, "data").anonymous
    anonymous = volumes.new_name()
    volumes.ensure_volume(layout, anonymous, anonymous=True)
    assert volumes.find_volume(layout, anonymous).anonymous


def test_many_commands_at_once_get_the_same_new_volume(layout: Layout) -> None:
    created: list[str] = []
    barrier = threading.Barrier(8)

    def ensure() -> None:
        barrier.wait()
        created.append(volumes.ensure_volume(layout, "data"))

    threads = [threading.Thread(target=ensure) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert created == [layout.volume_data("data")] * 8
    assert os.listdir(layout.tmp_dir) == []


@pytest.mark.parametrize("name", ["a", "A9", "my.data_set-2", "0", "x" * 200])
def test_names_that_follow_the_grammar(layout: Layout, name: str) -> None:
    assert volumes.create_volume(layout, name).name == name


BAD_NAMES = [".", "..", ".hidden", "-a", "_a", "a/b", "../x", "a b", "ä", "a\n", "x" * 201, "a:b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_break_the_grammar(layout: Layout, name: str) -> None:
    for make in (volumes.create_volume, volumes.ensure_volume):
        with pytest.raises(StorageError, match="is not a name for a volume"):
            make(layout, name)
    assert names(layout) == []


@given(name=st.text(min_size=1, max_size=300))
def test_accepted_names_are_safe_in_a_path(name: str) -> None:
    try:
        volumes.check_name(name)
    except StorageError:
        return
    assert "/" not in name
    assert not name.startswith((".", "-"))
    assert name.isascii()
    assert name.isprintable()
    assert len(os.fsencode(name)) < 255


def test_find_takes_an_unambiguous_beginning(layout: Layout) -> None:
    for name in ("data", "database", "web"):
        volumes.create_volume(layout, name)
    assert volumes.find_volume(layout, "data").name == "data"
    assert volumes.find_volume(layout, "w").name == "web"
    assert volumes.find_volume(layout, "datab").name == "database"
    with pytest.raises(Ambiguous, match="data, database"):
        volumes.find_volume(layout, "dat")


@pytest.mark.parametrize("name", ["none", "", ".", "..", "../tmp", "a/b"])
def test_what_is_not_there_is_not_found(layout: Layout, name: str) -> None:
    volumes.create_volume(layout, "data")
    with pytest.raises(VolumeNotFound):
        volumes.find_volume(layout, name)
    with pytest.raises(VolumeNotFound):
        volumes.remove_volume(layout, name)


def test_remove_takes_everything(layout: Layout) -> None:
    path = Path(volumes.ensure_volume(layout, "data"))
    (path / "deep" / "er").mkdir(parents=True)
    (path / "deep" / "file").write_text("x")
    (path / "link").symlink_to("/etc")
    volumes.remove_volume(layout, "data")
    assert names(layout) == []
    assert os.listdir(layout.tmp_dir) == []
    assert os.path.isdir("/etc")


def test_a_volume_in_use_stays_and_names_its_users(layout: Layout) -> None:
    volumes.create_volume(layout, "data")
    volumes.create_volume(layout, "other")
    user = add_container(layout, "data")
    with pytest.raises(InUse, match=user[:12]) as caught:
        volumes.remove_volume(layout, "data")
    assert caught.value.exit_code == 2
    assert user[:12] in caught.value.remedy
    with pytest.raises(InUse):
        volumes.remove_volume(layout, "other", users=("abc",))
    assert names(layout) == ["data", "other"]
    volumes.remove_volume(layout, "other")
    volumes.remove_volume(layout, "data", users=())
    assert names(layout) == []


def test_users_are_listed_by_volume(layout: Layout) -> None:
    first = add_container(layout, "a", "b")
    second = add_container(layout, "b")
    found = volumes.volume_users(layout)
    assert found["a"] == [first]
    assert sorted(found["b"]) == sorted([first, second])


def test_remove_waits_for_a_container_that_is_being_made(layout: Layout) -> None:
    volumes.create_volume(layout, "data")
    outcome: list[object] = []

    def remove() -> None:
        try:
            volumes.remove_volume(layout, "data")
        except InUse as error:
            outcome.append(error)

    with Lock(layout.lock("volumes"), shared=True):
        thread = threading.Thread(target=remove)
        thread.start()
        volumes.ensure_volume(layout, "data")
        thread.join(timeout=0.2)
        assert thread.is_alive()
        add_container(layout, "data")
    thread.join(timeout=10)
    assert [type(item) for item in outcome] == [InUse]
    assert names(layout) == ["data"]


def test_a_volume_that_cannot_be_emptied_is_there_again(layout: Layout) -> None:
    path = volumes.ensure_volume(layout, "data")
    Path(path, "file").touch()

    def refuse(tree: str) -> None:
        raise PermissionError(1, "not yours", tree)

    with pytest.raises(PermissionError):
        volumes.remove_volume(layout, "data", remove_tree=refuse)
    assert names(layout) == ["data"]
    assert os.listdir(path) == ["file"]
    assert os.listdir(layout.tmp_dir) == []


def killed_at(call: str, body: Callable[[], object], count: int = 1) -> None:
    """Run `body` in a child that dies as by kill -9 instead of its `count`th call of os.`call`."""
    pid = os.fork()
    if pid == 0:
        left = [count]
        real = getattr(os, call)

        def dying(*arguments: object, **keywords: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            return real(*arguments, **keywords)

        setattr(os, call, dying)
        try:
            body()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 9, f"os.{call} was not called {count} times"


@pytest.mark.parametrize(("call", "count"), [("mkdir", 2), ("fdatasync", 1), ("rename", 2)])
def test_a_killed_create_leaves_nothing_to_stumble_over(
    layout: Layout, call: str, count: int
) -> None:
    killed_at(call, lambda: volumes.create_volume(layout, "data"), count)
    assert names(layout) == []
    assert sweep(layout) == 1
    assert os.listdir(layout.tmp_dir) == []
    assert volumes.create_volume(layout, "data").name == "data"


@pytest.mark.parametrize("call", ["rename", "unlink", "rmdir"])
def test_a_killed_remove_is_finished_or_never_begun(layout: Layout, call: str) -> None:
    path = Path(volumes.ensure_volume(layout, "data"))
    (path / "file").touch()
    (path / "directory").mkdir()
    killed_at(call, lambda: volumes.remove_volume(layout, "data"))
    assert names(layout) == (["data"] if call == "rename" else [])
    assert sweep(layout) == 1
    assert os.listdir(layout.tmp_dir) == []
    if call == "rename":
        assert sorted(os.listdir(path)) == ["directory", "file"]


def test_a_full_disk_is_told_and_leaves_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreUnusable, match="make volume data: No space left"):
        volumes.create_volume(layout, "data")
    monkeypatch.undo()
    assert names(layout) == []
    assert os.listdir(layout.tmp_dir) == []


def test_a_volume_may_stand_for_a_directory_of_the_host(layout: Layout, tmp_path: Path) -> None:
    options = {"type": "none", "o": "bind", "device": str(tmp_path)}
    record = volumes.create_volume(layout, "here", options=options)
    assert volumes.mountpoint(layout, record) == str(tmp_path)
    assert volumes.ensure_volume(layout, "here") == str(tmp_path)
    (tmp_path / "kept").touch()
    volumes.remove_volume(layout, "here")
    assert (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "nfs", "o": "addr=1.2.3.4", "device": ":/x"}, "volume option .*type=nfs"),
        ({"type": "ext4", "device": "/dev/sda1"}, "volume option type=ext4"),
        ({"type": "tmpfs", "o": "frob"}, "volume option frob"),
        ({"size": "1g"}, "volume option size"),
        ({"type": "none", "o": "bind", "device": "relative"}, "not the absolute path"),
        ({"type": "none", "o": "bind", "device": "/no/such"}, "not the absolute path"),
        ({"o": "bind,uid=5", "device": "/"}, "volume option"),
    ],
)
def test_options_that_need_root_are_refused(
    layout: Layout, options: dict[str, str], message: str
) -> None:
    with pytest.raises(StorageError, match=message):
        volumes.create_volume(layout, "data", options=options)
    assert names(layout) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"name": 5, "created_at": ""}',
        '{"name": "data", "created_at": "", "labels": {"a": 1}}',
        '{"name": "data", "created_at": "", "options": []}',
    ],
)
def test_a_broken_record_is_named(layout: Layout, text: str) -> None:
    volumes.create_volume(layout, "data")
    path = f"{layout.volume('data')}/volume.json"
    Path(path).write_text(text)
    with pytest.raises(InvalidDocument, match=r"volume\.json"):
        volumes.read_volume(layout, "data")


def test_a_record_of_a_newer_rpod_is_read(layout: Layout) -> None:
    record = volumes.create_volume(layout, "data")
    path = Path(layout.volume("data"), "volume.json")
    path.write_text(json.dumps({**record.to_json(), "version": 2, "colour": "blue"}))
    assert volumes.read_volume(layout, "data") == record
