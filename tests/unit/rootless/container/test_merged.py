"""Looking into unpacked layers: what a mounted overlay would show, and nothing outside of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootless.container.merged import read_merged

Make = Callable[..., list[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make layers, the top one first; a value is content, ("link", target), "dir" or "opaque"."""

    def build(*layers: dict[str, object]) -> list[str]:
        return [put(tmp_path / str(number), layer) for number, layer in enumerate(layers)]

    return build


def put(top: Path, entries: dict[str, object]) -> str:
    top.mkdir(parents=True)
    for name, value in entries.items():
        path = top / name
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif isinstance(value, tuple):
            path.symlink_to(value[1])
        else:
            path.mkdir(exist_ok=True)
            if value == "opaque":
                os.setxattr(path, "user.overlay.opaque", b"y")
    return str(top)


def test_the_top_layer_wins(make: Make) -> None:
    layers = make({"etc/passwd": b"top"}, {"etc/passwd": b"bottom"})
    assert read_merged(layers, "/etc/passwd") == b"top"


def test_directories_of_all_layers_are_one(make: Make) -> None:
    layers = make({"etc/hosts": b""}, {"etc": "dir"}, {"etc/passwd": b"bottom"})
    assert read_merged(layers, "/etc/passwd") == b"bottom"


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc", "/", "", "/etc/passwd/x", "/etc/.", "/.."])
def test_what_is_no_file_is_nothing(make: Make, path: str) -> None:
    assert read_merged(make({"etc/hosts": b"1"}, {"etc": "dir"}), path) is None


def test_an_opaque_directory_hides_what_is_below(make: Make) -> None:
    layers = make({"etc": "dir"}, {"etc": "opaque"}, {"etc/passwd": b"hidden"})
    assert read_merged(layers, "/etc/passwd") is None


def test_a_file_hides_a_directory_below(make: Make) -> None:
    layers = make({"etc": b"a file"}, {"etc/passwd": b"hidden"})
    assert read_merged(layers, "/etc/passwd") is None
    assert read_merged(layers, "/etc") == b"a file"


def test_a_file_between_directories_ends_the_merge(make: Make) -> None:
    layers = make({"etc/hosts": b""}, {"etc": b"a file"}, {"etc/passwd": b"hidden"})
    assert read_merged(layers, "/etc/passwd") is None


def test_whiteouts_and_opaque_marks_may_be_files(make: Make) -> None:
    """Where a host makes no device or has no user attributes, `storage.tree` makes these."""
    layers = make(
        {"etc/.wh.passwd": b"", "usr/.wh..wh..opq": b""}, {"etc/passwd": b"", "usr/x": b""}
    )
    assert read_merged(layers, "/etc/passwd") is None
    assert read_merged(layers, "/usr/x") is None


def test_a_whiteout_hides_what_is_below(make: Make) -> None:
    layers = make({"etc/hosts": b""}, {"etc/passwd": b"hidden"})
    os.mknod(f"{layers[0]}/etc/passwd", 0o20000, os.makedev(0, 0))
    assert read_merged(layers, "/etc/passwd") is None


@pytest.mark.parametrize(
    ("link", "target"),
    [
        pytest.param("etc/passwd", "../usr/passwd", id="relative"),
        pytest.param("etc/passwd", "/usr/passwd", id="absolute"),
        pytest.param("etc/passwd", "../../../../../../usr/passwd", id="above-the-top"),
        pytest.param("etc/passwd", "/../usr/./passwd", id="dots"),
        pytest.param("etc", "usr", id="directory"),
        pytest.param("etc", "/usr/../usr/", id="directory-absolute"),
    ],
)
def test_links_are_followed_inside(make: Make, link: str, target: str) -> None:
    layers = make({link: ("link", target)}, {"usr/passwd": b"inside"})
    assert read_merged(layers, "/etc/passwd") == b"inside"


@pytest.mark.parametrize("prefix", ["", "/", "../../../../../../../../../../.."])
def test_no_link_leads_out_of_the_layers(make: Make, tmp_path: Path, prefix: str) -> None:
    (tmp_path / "secret").write_text("of the host")
    target = f"{prefix}{tmp_path}/secret"
    layers = make({"etc/passwd": ("link", target)}, {"etc/x": ("link", str(tmp_path))})
    assert read_merged(layers, "/etc/passwd") is None
    assert read_merged(layers, "/etc/x/secret") is None


@pytest.mark.parametrize(
    "target", ["passwd", "/etc/passwd", "../etc/passwd", "loop/passwd", "x" * 300, "a/" * 2000]
)
def test_links_that_lead_nowhere_end(make: Make, target: str) -> None:
    layers = make({"etc/passwd": ("link", target), "etc/loop": ("link", "../etc")})
    assert read_merged(layers, "/etc/passwd") is None


def test_dots_go_back_the_way_through_the_link(make: Make) -> None:
    """`..` after a link is the parent of where it leads, not of where it lies."""
    layers = make({"a/to": ("link", "/b/c"), "b/f": b"right", "a/f": b"wrong", "b/c": "dir"})
    assert read_merged(layers, "/a/to/../f") == b"right"


def test_a_fifo_is_not_waited_for(make: Make) -> None:
    layers = make({"etc": "dir"})
    os.mkfifo(f"{layers[0]}/etc/passwd")
    assert read_merged(layers, "/etc/passwd") is None


def test_no_more_is_read_than_asked_for(make: Make) -> None:
    assert read_merged(make({"big": b"x" * 5000}), "/big", limit_bytes=100) == b"x" * 100


def test_without_layers_there_is_nothing() -> None:
    assert read_merged([], "/etc/passwd") is None


names = st.sampled_from(["a", "b", ".."])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
targets = st.tuples(st.sampled_from(["", "/"]), paths).map("".join)
trees = st.dictionaries(
    st.sampled_from(["a", "b", "a/a", "a/b", "b/a", "b/b"]),
    st.one_of(st.just("dir"), st.binary(max_size=3), targets.map(lambda t: ("link", t))),
    max_size=5,
)


@given(tree=trees, path=paths)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_one_layer_is_read_as_the_kernel_would(
    tmp_path: Path, tree: dict[str, object], path: str
) -> None:
    from rootless.linux import syscalls

    top = tmp_path / os.urandom(8).hex()
    parents = {name.rpartition("/")[0] for name in tree} - {""}
    put(top, {name: value for name, value in tree.items() if name not in parents})
    root = os.open(top, os.O_PATH)
    expected: bytes | None
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK
        fd = syscalls.openat2(root, path, flags, resolve=syscalls.RESOLVE_IN_ROOT)
    except OSError:
        expected = None
    else:
        try:
            expected = os.read(fd, 100)
        except IsADirectoryError:
            expected = None
        os.close(fd)
    os.close(root)
    assert read_merged([str(top)], path) == expected
