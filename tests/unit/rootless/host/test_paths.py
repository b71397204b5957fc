"""Where the store and the run root are."""

import os
from pathlib import Path

import pytest

from rootless.config import Config
from rootless.errors import HostError
from rootless.host import paths
from rootless.host.paths import find_run_root, make_run_root, open_host, store_directory
from storage.errors import StoreTooNew, StoreUnusable

UID = os.getuid()


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    runtime = tmp_path / "runtime"
    runtime.mkdir(exist_ok=True)
    return {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(tmp_path / "no-config"),
        **more,
    }


@pytest.mark.parametrize(
    ("root", "config", "variables", "expected"),
    [
        pytest.param("/r/../s", "/c", {"XDG_DATA_HOME": "/d"}, "/s", id="option"),
        pytest.param(None, "/c", {"XDG_DATA_HOME": "/d"}, "/c", id="configuration"),
        pytest.param(None, "", {"XDG_DATA_HOME": "/d/"}, "/d/rpod", id="xdg"),
        pytest.param(None, "", {"XDG_DATA_HOME": "d"}, "/h/.local/share/rpod", id="relative-xdg"),
        pytest.param(None, "", {}, "/h/.local/share/rpod", id="home"),
    ],
)
def test_store_directory(
    root: str | None, config: str, variables: dict[str, str], expected: str
) -> None:
    assert store_directory(root, Config(root=config), variables, "/h") == expected


def test_store_without_home_says_what_to_do() -> None:
    with pytest.raises(StoreUnusable) as caught:
        store_directory(None, Config(), {}, "")
    assert "--root DIR" in caught.value.remedy


def test_open_host_makes_both_places(tmp_path: Path) -> None:
    host = open_host(environ=environ(tmp_path))
    assert host.layout.store == f"{tmp_path}/.local/share/rpod"
    assert os.path.exists(host.layout.version_file)
    assert host.layout.run_root == f"{tmp_path}/runtime/rpod"
    assert os.stat(host.layout.run_root).st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("2\n", StoreTooNew, "format 2"),
        ("", StoreUnusable, "damaged"),
        ("one\n", StoreUnusable, "damaged"),
    ],
)
def test_store_of_another_format_is_left_alone(
    tmp_path: Path, text: str, kind: type[StoreUnusable], words: str
) -> None:
    store = open_host(environ=environ(tmp_path)).layout
    Path(store.version_file).write_text(text)
    with pytest.raises(kind, match=words) as caught:
        open_host(environ=environ(tmp_path))
    assert store.store in caught.value.message
    assert caught.value.remedy
    assert Path(store.version_file).read_text() == text


def test_open_host_variable_names_the_store(tmp_path: Path) -> None:
    host = open_host(environ=environ(tmp_path, RPOD_ROOT=f"{tmp_path}/s"))
    assert host.layout.store == f"{tmp_path}/s"


def test_open_host_without_prepare_makes_nothing(tmp_path: Path) -> None:
    open_host(environ=environ(tmp_path), prepare=False)
    assert os.listdir(tmp_path) == ["runtime"]


def test_run_root_is_remembered_for_other_sessions(tmp_path: Path) -> None:
    first = open_host(environ=environ(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    second = open_host(environ=environ(tmp_path, XDG_RUNTIME_DIR=str(other)))
    assert second.layout.run_root == first.layout.run_root
    assert second.run_root_reason == paths.REMEMBERED


def test_run_root_of_another_boot_is_forgotten(tmp_path: Path) -> None:
    first = open_host(environ=environ(tmp_path))
    Path(first.layout.runroot_file).write_text(f"another-boot {tmp_path}/old\n")
    (tmp_path / "old").mkdir()
    assert open_host(environ=environ(tmp_path)).layout.run_root == first.layout.run_root


def test_run_root_that_has_gone_is_chosen_again(tmp_path: Path) -> None:
    first = open_host(environ=environ(tmp_path))
    for name in ("containers", ""):
        os.rmdir(f"{first.layout.run_root}/{name}")
    other = tmp_path / "other"
    other.mkdir()
    second = open_host(environ=environ(tmp_path, XDG_RUNTIME_DIR=str(other)))
    assert second.layout.run_root == f"{other}/rpod"


def test_explicit_run_root_goes_first(tmp_path: Path) -> None:
    open_host(environ=environ(tmp_path))
    host = open_host(runroot=f"{tmp_path}/mine", environ=environ(tmp_path))
    assert host.layout.run_root == f"{tmp_path}/mine"


def test_stale_runtime_directory_is_passed_over(tmp_path: Path) -> None:
    found, reason = find_run_root(
        None,
        Config(),
        {"XDG_RUNTIME_DIR": f"{tmp_path}/gone"},
        uid=UID,
        store=f"{tmp_path}/store",
    )
    assert not found.startswith(str(tmp_path))
    assert reason != "XDG_RUNTIME_DIR"


def test_run_root_refuses_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    os.symlink(tmp_path / "real", tmp_path / "link")
    with pytest.raises(HostError, match="symbolic link"):
        make_run_root(f"{tmp_path}/link", UID)


def test_run_root_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="not a directory"):
        make_run_root(f"{tmp_path}/file", UID)


def test_run_root_refuses_what_others_may_write(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", 0o777)
    with pytest.raises(HostError) as caught:
        make_run_root(f"{tmp_path}/open", UID)
    assert caught.value.remedy == f"chmod 700 {tmp_path}/open"


def test_run_root_refuses_another_owners(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    with pytest.raises(HostError, match="it belongs to"):
        make_run_root(f"{tmp_path}/theirs", UID + 1)


def test_store_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    with pytest.raises(StoreUnusable, match="it belongs to"):
        paths.make_own_store(f"{tmp_path}/theirs", UID + 1, str(tmp_path))


def test_notes_are_kept_once(tmp_path: Path) -> None:
    host = open_host(environ=environ(tmp_path))
    host.note("slow")
    host.note("slow")
    assert host.notes == ["slow"]
