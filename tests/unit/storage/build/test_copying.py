"""COPY and ADD: what ends where (Dockerfile reference), and that nothing leads out of the root."""

import io
import os
import socket
import stat
import tarfile
from pathlib import Path

import pytest

from storage.build.copying import CopyRules
from storage.build.errors import BuildInputError, ContextError
from storage.tar_writer import AS_THEY_ARE, Times
from storage.xattrs import make_opaque
from tests.unit.storage.build.copies import copy, digest, make_tree

NOW_NS = 1_700_000_000_000_000_000


def rules(
    target: str,
    *,
    owner: tuple[int, int] | None = None,
    chmod: str = "",
    link: bool = False,
    parents: bool = False,
    exclude: tuple[str, ...] = (),
    times: Times = AS_THEY_ARE,
) -> CopyRules:
    into = target.endswith("/")
    return CopyRules(target, into, owner, chmod, link, parents, exclude, NOW_NS, times)


@pytest.fixture
def context(tmp_path: Path) -> str:
    return make_tree(
        f"{tmp_path}/context",
        {
            "a.txt": "a",
            "b.txt": "b",
            "dir/c.txt": "c",
            "dir/sub/d.txt": "d",
            "dir/link": "-> c.txt",
            "to-file": "-> a.txt",
            "to-dir": "-> dir",
            "out": "-> /etc/passwd",
            "up": "-> ../../../../../a.txt",
            "loop": "-> loop",
            "empty": None,
        },
    )


@pytest.mark.parametrize(
    ("sources", "target", "expected"),
    [
        (("a.txt",), "/x", {"x": "a"}),
        (("a.txt",), "/x/", {"x/a.txt": "a"}),
        (("/a.txt",), "/x", {"x": "a"}),
        (("../../a.txt",), "/x", {"x": "a"}),
        (("./dir/../a.txt",), "/x", {"x": "a"}),
        (("a.txt", "b.txt"), "/x/", {"x/a.txt": "a", "x/b.txt": "b"}),
        (("*.txt",), "/x/", {"x/a.txt": "a", "x/b.txt": "b"}),
        (("[ab].txt",), "/x/", {"x/a.txt": "a", "x/b.txt": "b"}),
        (("a.t?t",), "/x", {"x": "a"}),
        (("d*/c.txt",), "/x", {"x": "c"}),
        (("to-file",), "/x/", {"x/to-file": "a"}),
        (("up",), "/x", {"x": "a"}),
        (
            ("dir",),
            "/x",
            {"x/c.txt": "c", "x/sub/d.txt": "d", "x/link": "-> c.txt"},
        ),
        (("dir/",), "/", {"c.txt": "c", "sub/d.txt": "d", "link": "-> c.txt"}),
        (("to-dir",), "/x", {"x/c.txt": "c", "x/sub/d.txt": "d", "x/link": "-> c.txt"}),
        (("dir", "a.txt"), "/x/", {"x/c.txt": "c", "x/sub/d.txt": "d", "x/link": "-> c.txt",
                                   "x/a.txt": "a"}),
        (("dir/sub/d.txt",), "/deep/er/x", {"deep/er/x": "d"}),
        (("empty",), "/x", {}),
    ],
)  # fmt: skip
def test_copy_puts_sources_in_place(
    context: str, sources: tuple[str, ...], target: str, expected: dict[str, str]
) -> None:
    assert copy(context, sources, rules(target)).files == expected


def test_copy_of_directory_makes_the_target(context: str) -> None:
    assert "x" in copy(context, ("empty",), rules("/x")).directories


@pytest.mark.parametrize("source", ["missing", "dir/missing", "a.txt/x", "out"])
def test_missing_source_is_an_error(context: str, source: str) -> None:
    # A link out of the context leads to a place in it, and there is no etc/passwd.
    with pytest.raises(BuildInputError, match="is not in"):
        copy(context, (source,), rules("/x"))


def test_loop_of_links_is_an_error(context: str) -> None:
    with pytest.raises(BuildInputError, match="too many symbolic links"):
        copy(context, ("loop",), rules("/x"))


def test_several_files_need_a_directory(context: str) -> None:
    with pytest.raises(BuildInputError, match="must be a directory"):
        copy(context, ("*.txt",), rules("/x"))


def test_owners_of_a_context_are_root(context: str) -> None:
    copied = copy(context, ("dir",), rules("/x"))
    assert {(one.uid, one.gid) for one in copied.members.values()} == {(0, 0)}


def test_chown_and_chmod_apply_to_everything(context: str) -> None:
    copied = copy(context, ("dir",), rules("/new/x", owner=(3, 4), chmod="u=rwX,go=rX"))
    assert {(one.uid, one.gid) for one in copied.members.values()} == {(3, 4)}
    assert copied.members["new/x/c.txt"].mode == 0o644
    assert copied.members["new/x/sub"].mode == 0o755


def test_layers_keep_owner_and_attributes(context: str) -> None:
    os.setxattr(f"{context}/a.txt", "user.mine", b"1")
    copied = copy(context, ("a.txt",), rules("/x"), layers=True)
    assert copied.members["x"].uid == os.getuid()
    assert copied.members["x"].pax_headers["SCHILY.xattr.user.mine"] == "1"


def test_attributes_of_a_context_stay_behind(context: str) -> None:
    os.setxattr(f"{context}/a.txt", "user.mine", b"1")
    assert copy(context, ("a.txt",), rules("/x")).members["x"].pax_headers == {}


def test_hard_links_stay_together(context: str) -> None:
    os.link(f"{context}/dir/c.txt", f"{context}/dir/same.txt")
    assert copy(context, ("dir",), rules("/x")).files["x/same.txt"] == "== x/c.txt"


def test_times_are_those_of_the_files_in_seconds(context: str) -> None:
    os.utime(f"{context}/a.txt", ns=(1, 1_600_000_000_999_999_999))
    assert copy(context, ("a.txt",), rules("/x")).members["x"].mtime == 1_600_000_000


def test_no_time_is_later_than_the_latest(context: str) -> None:
    copied = copy(context, (".",), rules("/n/x", times=Times(1_500_000_000)))
    assert {one.mtime for one in copied.members.values()} == {1_500_000_000}


def test_all_times_may_be_one(context: str) -> None:
    copied = copy(context, (".",), rules("/n/x", times=Times(1_800_000_000, exact=True)))
    assert {one.mtime for one in copied.members.values()} == {1_800_000_000}


# What is in the root already.


def test_directories_of_the_base_keep_their_metadata(tmp_path: Path, context: str) -> None:
    base = make_tree(f"{tmp_path}/base", {"srv/data": None})
    os.chmod(f"{base}/srv", 0o1777)
    os.chmod(f"{base}/srv/data", 0o700)
    copied = copy(context, ("dir",), rules("/srv/data"), base=(base,))
    assert copied.members["srv"].mode == 0o1777
    assert copied.members["srv/data"].mode == 0o700


def test_nested_directories_get_the_metadata_of_the_source(tmp_path: Path, context: str) -> None:
    base = make_tree(f"{tmp_path}/base", {"srv/sub": None})
    os.chmod(f"{base}/srv/sub", 0o700)
    os.chmod(f"{context}/dir/sub", 0o751)
    copied = copy(context, ("dir",), rules("/srv"), base=(base,))
    assert copied.members["srv/sub"].mode == 0o751


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/etc", "etc/a.txt"),
        ("/link", "usr/lib/a.txt"),
        ("/link/", "usr/lib/a.txt"),
        ("/link/new/", "usr/lib/new/a.txt"),
        ("/link/../x", "usr/x"),
        ("/up/a", "etc/a"),
        ("/chain/a", "usr/lib/a"),
        ("/to-file", "etc/conf"),
        ("/dangling", "nowhere/file"),
        ("/../../x", "x"),
    ],
)
def test_links_of_the_target_are_resolved_in_the_root(
    tmp_path: Path, context: str, target: str, expected: str
) -> None:
    base = make_tree(
        f"{tmp_path}/base",
        {
            "usr/lib/so": "1",
            "etc/conf": "old",
            "link": "-> /usr/lib",
            "up": "-> ../../../etc",
            "chain": "-> link",
            "to-file": "-> etc/conf",
            "dangling": "-> /nowhere/file",
        },
    )
    copied = copy(context, ("a.txt",), rules(target), base=(base,))
    assert copied.files == {expected: "a"}


def test_directory_in_the_copy_goes_through_a_link_of_the_base(
    tmp_path: Path, context: str
) -> None:
    base = make_tree(f"{tmp_path}/base", {"usr/lib/so": "1", "sub": "-> usr/lib"})
    copied = copy(context, ("dir",), rules("/"), base=(base,))
    assert copied.files["usr/lib/d.txt"] == "d"


def test_file_takes_the_place_of_a_link(tmp_path: Path, context: str) -> None:
    base = make_tree(f"{tmp_path}/base", {"srv/a.txt": "-> /etc/shadow", "etc/shadow": "x"})
    copied = copy(context, ("a.txt",), rules("/srv/"), base=(base,))
    assert copied.files == {"srv/a.txt": "a"}


def test_link_copy_reads_nothing_of_the_base(tmp_path: Path, context: str) -> None:
    base = make_tree(f"{tmp_path}/base", {"usr/lib/so": "1", "link": "-> /usr/lib"})
    copied = copy(context, ("a.txt",), rules("/link/", link=True), base=(base,))
    assert copied.files == {"link/a.txt": "a"}


def test_file_and_directory_do_not_replace_each_other(tmp_path: Path, context: str) -> None:
    base = make_tree(f"{tmp_path}/base", {"file": "1", "srv/a.txt/below": "1", "srv/sub": "2"})
    for source, target in (
        ("dir", "/file"),
        ("a.txt", "/srv/"),
        ("dir", "/srv"),
        ("a.txt", "/file/x"),
    ):
        with pytest.raises(BuildInputError):
            copy(context, (source,), rules(target), base=(base,))


def test_whiteouts_of_the_base_hide(tmp_path: Path, context: str) -> None:
    lower = make_tree(
        f"{tmp_path}/lower", {"link": "-> /usr/lib", "usr/lib/so": "1", "o/l": "-> /"}
    )
    upper = make_tree(f"{tmp_path}/upper", {"o": None})
    os.mknod(f"{upper}/link", stat.S_IFCHR, 0)
    fd = os.open(f"{upper}/o", os.O_RDONLY)
    make_opaque(fd)
    os.close(fd)
    assert copy(context, ("a.txt",), rules("/link/"), base=(upper, lower)).files == {
        "link/a.txt": "a"
    }
    assert copy(context, ("a.txt",), rules("/o/l"), base=(upper, lower)).files == {"o/l": "a"}


# Flags.


def test_parents_keep_the_directories(context: str) -> None:
    copied = copy(context, ("dir/sub/d.txt", "a.txt"), rules("/x/", parents=True))
    assert copied.files == {"x/dir/sub/d.txt": "d", "x/a.txt": "a"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("dir/./sub", {"x/sub/d.txt"}),
        ("./dir/sub", {"x/dir/sub/d.txt"}),
        ("dir/sub/.", {"x/dir/sub/d.txt"}),
        ("./**/*.txt", {"x/a.txt", "x/b.txt", "x/dir/c.txt", "x/dir/sub/d.txt"}),
        ("dir/./**/d*", {"x/sub/d.txt"}),
        ("d*/./s*", {"x/sub/d.txt"}),
        ("dir/**", {"x/dir/c.txt", "x/dir/link", "x/dir/sub/d.txt"}),
    ],
)
def test_parents_with_pivot_and_any_depth(context: str, source: str, expected: set[str]) -> None:
    assert set(copy(context, (source,), rules("/x/", parents=True)).files) == expected


@pytest.mark.parametrize(
    ("source", "exclude", "expected"),
    [
        ("dir", ("c.txt",), {"x/link", "x/sub/d.txt"}),
        ("dir", ("sub",), {"x/c.txt", "x/link"}),
        ("dir", ("*", "!sub/d.txt"), {"x/sub/d.txt"}),
        ("*.txt", ("a.*",), {"x/b.txt"}),
        ("d*", ("*.txt",), {"x/link", "x/sub/d.txt"}),
        (".", ("**/*.txt", "out", "up", "loop", "to-*"), {"x/dir/link"}),
    ],
)
def test_exclude_leaves_out(
    context: str, source: str, exclude: tuple[str, ...], expected: set[str]
) -> None:
    assert set(copy(context, (source,), rules("/x/", exclude=exclude)).files) == expected


def test_ignored_files_are_not_there(context: str) -> None:
    copied = copy(context, (".",), rules("/x"), ignore=("*", "!dir/sub", "!b.txt"))
    assert set(copied.files) == {"x/b.txt", "x/dir/sub/d.txt"}
    with pytest.raises(BuildInputError):
        copy(context, ("a.txt",), rules("/x"), ignore=("a.txt",))


# Archives.


def archive(*members: tuple[str, bytes, str], compression: str = "gz") -> bytes:
    """Return an archive of (name, type, link target or content)."""
    out = io.BytesIO()
    mode = f"w:{compression}"
    with tarfile.open(fileobj=out, mode=mode) as made:  # type: ignore[call-overload]
        for name, kind, text in members:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            entry.uid, entry.gid = 5, 6
            if kind == tarfile.REGTYPE:
                entry.size = len(text)
                made.addfile(entry, io.BytesIO(text.encode()))
            else:
                entry.linkname = text
                made.addfile(entry)
    return out.getvalue()


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_archive_is_known_by_its_bytes(context: str, compression: str) -> None:
    data = archive(
        ("f", tarfile.REGTYPE, "x"), ("l", tarfile.SYMTYPE, "f"), compression=compression
    )
    make_tree(context, {"innocent.name": data})
    copied = copy(context, ("innocent.name",), rules("/t"), unpack=True)
    assert copied.files == {"t/f": "x", "t/l": "-> f"}
    assert (copied.members["t/f"].uid, copied.members["t/f"].gid) == (5, 6)


def test_what_only_looks_like_an_archive_is_copied(context: str) -> None:
    make_tree(context, {"a.tar.gz": "no archive", "real.gz": b"\x1f\x8b\x08\0"})
    copied = copy(context, ("a.tar.gz", "real.gz"), rules("/t/"), unpack=True)
    assert set(copied.files) == {"t/a.tar.gz", "t/real.gz"}


def test_archive_leads_out_of_nothing(tmp_path: Path, context: str) -> None:
    base = make_tree(f"{tmp_path}/base", {"root-link": "-> /", "etc/passwd": "old"})
    data = archive(
        ("esc", tarfile.SYMTYPE, "../../../../etc"),
        ("esc/cron", tarfile.REGTYPE, "1"),
        ("abs", tarfile.SYMTYPE, "/etc"),
        ("abs/other", tarfile.REGTYPE, "2"),
        ("/absolute", tarfile.REGTYPE, "3"),
    )
    make_tree(context, {"x.tar": data})
    copied = copy(context, ("x.tar",), rules("/t"), base=(base,), unpack=True)
    assert {name for name in copied.files if not copied.files[name].startswith("->")} == {
        "etc/cron", "etc/other", "t/absolute",
    }  # fmt: skip


@pytest.mark.parametrize(
    "members",
    [
        [("../up", tarfile.REGTYPE, "1")],
        [("x/../../up", tarfile.REGTYPE, "1")],
        [("h", tarfile.LNKTYPE, "../../etc/passwd")],
        [("h", tarfile.LNKTYPE, "/etc/passwd")],
        [("f", tarfile.REGTYPE, "1"), ("f/below", tarfile.REGTYPE, "1")],
    ],
    ids=["up", "up-later", "link-up", "link-to-base", "below-a-file"],
)
def test_bad_archive_is_refused(
    tmp_path: Path, context: str, members: list[tuple[str, bytes, str]]
) -> None:
    base = make_tree(f"{tmp_path}/base", {"etc/passwd": "old", "t/etc/passwd": "old"})
    make_tree(context, {"x.tar": archive(*members)})
    with pytest.raises(BuildInputError):
        copy(context, ("x.tar",), rules("/t"), base=(base,), unpack=True)


# Bad contexts.


def test_socket_and_device_are_left_out_with_a_note(
    context: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(context)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        os.mknod("whiteout", stat.S_IFCHR, 0)
        os.mkfifo("fifo")
        copied = copy(context, (".",), rules("/x"))
    assert len(copied.copy.notes) == 2
    assert "x/s" not in copied.members
    assert copied.members["x/fifo"].isfifo()


def test_name_that_marks_removed_files_is_refused(context: str) -> None:
    make_tree(context, {"bad/.wh.etc": ""})
    with pytest.raises(BuildInputError, match=r"\.wh\."):
        copy(context, ("bad",), rules("/"))


def test_file_that_has_become_a_link_is_not_followed(context: str, tmp_path: Path) -> None:
    from storage.build.host_tree import HostTree

    secret = make_tree(f"{tmp_path}/secret", {"key": "secret"})
    tree = HostTree(context)
    node = tree.children(tree.root())[b"a.txt"]
    os.unlink(f"{context}/a.txt")
    os.symlink(f"{secret}/key", f"{context}/a.txt")
    with pytest.raises(ContextError, match="changes while it is read"):
        tree.open(node)
    tree.close()


def test_deep_context_is_refused(tmp_path: Path) -> None:
    make_tree(f"{tmp_path}/deep", {"d/" * 230 + "f": "x"})
    with pytest.raises(ContextError, match="directories in each other"):
        copy(f"{tmp_path}/deep", (".",), rules("/x"))


# The digest.


def test_digest_depends_on_contents_names_and_modes_only(tmp_path: Path) -> None:
    files: dict[str, str | bytes | None] = {"d/a": "1", "d/b": "2", "d/l": "-> a"}
    one = make_tree(f"{tmp_path}/one", files)
    two = make_tree(f"{tmp_path}/two", files)
    os.utime(f"{two}/d/a", (5, 5))
    same = digest(one, ("d",), rules("/x"))
    assert digest(two, ("d",), rules("/y")) == same
    os.chmod(f"{two}/d/a", 0o600)
    assert digest(two, ("d",), rules("/x")) != same
    assert digest(two, ("d",), rules("/x", chmod="0600")) == digest(
        one, ("d",), rules("/x", chmod="600")
    )
    assert digest(one, ("d",), rules("/x", owner=(1, 1))) != same
    make_tree(f"{tmp_path}/three", {**files, "d/b": "3"})
    assert digest(f"{tmp_path}/three", ("d",), rules("/x")) != same
    make_tree(f"{tmp_path}/four", {**files, "other": "3"})
    assert digest(f"{tmp_path}/four", ("d",), rules("/x")) == same
