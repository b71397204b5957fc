"""What `-v`, `--mount` and `--tmpfs` mean."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.mounts import (
    BIND,
    TMPFS,
    VOLUME,
    UserMount,
    collect,
    parse_mount,
    parse_tmpfs,
    parse_volume,
    to_json,
    to_record,
)
from rootless.container.request import ContainerRequest
from rootless.errors import MountSourceMissing, RootlessError, UsageError

PLAIN = ("rbind", "rprivate", "rw")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a:/b", UserMount(BIND, "/a", "/b", PLAIN)),
        ("./a:/b", UserMount(BIND, "/cwd/a", "/b", PLAIN)),
        (".:/b", UserMount(BIND, "/cwd", "/b", PLAIN)),
        ("../a/./x:/b/../c/", UserMount(BIND, "/a/x", "/c", PLAIN)),
        ("/a:/b:ro", UserMount(BIND, "/a", "/b", ("ro", "rbind", "rprivate"))),
        ("/a:/b:rro", UserMount(BIND, "/a", "/b", ("rro", "rbind", "rprivate"))),
        ("/a:/b:bind,slave,ro", UserMount(BIND, "/a", "/b", ("bind", "slave", "ro"))),
        ("/a:/b:z", UserMount(BIND, "/a", "/b", PLAIN)),
        ("/a:/b:Z,rw", UserMount(BIND, "/a", "/b", ("rw", "rbind", "rprivate"))),
        ("data:/b", UserMount(VOLUME, "data", "/b", PLAIN, copy_up=True)),
        ("data:/b:nocopy", UserMount(VOLUME, "data", "/b", PLAIN)),
        ("/b", UserMount(VOLUME, "", "/b", PLAIN, copy_up=True)),
        ("//a//:///b//", UserMount(BIND, "//a", "/b", PLAIN)),
    ],
)  # fmt: skip
def test_volume_as_typed(text: str, expected: UserMount) -> None:
    found = parse_volume(text, "/cwd")
    assert found._replace(options=tuple(sorted(found.options))) == expected._replace(
        options=tuple(sorted(expected.options))
    )


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", ":/b", "/a:b", "/a:/", "/a:/..", "/a:/b:bogus", "/a:/b:ro:x", "/a:/b:", "b",
     "/a:/b:ro,", "/a:/b:uid=5", "/a:/b:ro,rw", "/a:/b:z,Z", "/a:/b:exec,noexec",
     "/a:/b:slave,shared", "v:/b:copy,nocopy"],
)  # fmt: skip
def test_wrong_volumes_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="invalid"):
        parse_volume(text, "/cwd")


def test_a_relative_source_needs_a_current_directory() -> None:
    with pytest.raises(UsageError, match="current directory has been removed"):
        parse_volume("./a:/b", "")
    assert parse_volume("/a:/b", "").source == "/a"


@pytest.mark.parametrize(
    ("text", "kind", "source", "target", "words"),
    [
        ("type=bind,src=/a,dst=/b", BIND, "/a", "/b", PLAIN),
        ("type=bind,source=a,target=/b,readonly", BIND, "/cwd/a", "/b",
         ("rbind", "ro", "rprivate")),
        ("type=bind,src=/a,destination=/b,ro=true", BIND, "/a", "/b", ("rbind", "ro", "rprivate")),
        ("type=bind,src=/a,dst=/b,ro=false", BIND, "/a", "/b", PLAIN),
        ("type=bind,src=/a,dst=/b,rw=false", BIND, "/a", "/b", ("rbind", "ro", "rprivate")),
        ("type=bind,src=/a,dst=/b,bind-propagation=rshared", BIND, "/a", "/b",
         ("rbind", "rshared", "rw")),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", BIND, "/a", "/b",
         ("bind", "rprivate", "rw")),
        ("type=bind,src=/a,dst=/b,relabel=shared,consistency=cached", BIND, "/a", "/b", PLAIN),
        ("src=data,dst=/b", VOLUME, "data", "/b", PLAIN),
        ("type=volume,dst=/b", VOLUME, "", "/b", PLAIN),
    ],
)  # fmt: skip
def test_mount_as_typed(
    text: str, kind: str, source: str, target: str, words: tuple[str, ...]
) -> None:
    found = parse_mount(text, "/cwd")
    assert (found.kind, found.source, found.target) == (kind, source, target)
    assert set(found.options) == set(words)


@pytest.mark.parametrize(
    "text",
    ["", "type=bind", "type=bind,dst=/b", "type=bind,src=/a", "type=bogus,dst=/b", "dst=b",
     "type=bind,src=/a,dst=/", "type=bind,src=/a,dst=/b,bogus", "type=tmpfs,dst=/b,bogus=1",
     "type=bind,src=/a,dst=/b,ro=maybe=x,uid=1", "type=bind,src=/a,dst=/b,bind-propagation=odd",
     "type=bind,src=/a,dst=/b,ro,rw", "type=tmpfs,src=/a,dst=/b",
     "type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-size=2m", "type=tmpfs,dst=/b,tmpfs-mode=999",
     "type=tmpfs,dst=/b,tmpfs-size=big"],
)  # fmt: skip
def test_wrong_mounts_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="invalid"):
        parse_mount(text, "/cwd")


@pytest.mark.parametrize(
    ("text", "has", "lacks"),
    [
        ("/t", {"rw", "nosuid", "noexec", "nodev", "tmpcopyup", "mode=1777"}, set()),
        ("/t:exec,size=5m", {"exec", "size=5m"}, {"noexec"}),
        ("/t:ro", {"ro"}, {"rw"}),
        ("/t:size=50%,nr_inodes=10k,mode=0755", {"size=50%", "nr_inodes=10k"}, set()),
        ("/t:mode=700", {"mode=700"}, {"mode=1777"}),
        ("/t:suid,dev,notmpcopyup", {"suid", "dev", "notmpcopyup"},
         {"nosuid", "nodev", "tmpcopyup"}),
        ("/t:", {"rw"}, set()),
    ],
)  # fmt: skip
def test_tmpfs_as_typed(text: str, has: set[str], lacks: set[str]) -> None:
    found = parse_tmpfs(text)
    assert (found.kind, found.source, found.target) == (TMPFS, "", "/t")
    assert has <= set(found.options)
    assert not lacks & set(found.options)


@pytest.mark.parametrize("text", ["", "t", "/", "/t:bogus", "/t:size=", "/t:size", "/t:data=x",
                                  "/t:ro,rw"])  # fmt: skip
def test_wrong_tmpfs_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="invalid"):
        parse_tmpfs(text)


def test_mount_of_type_tmpfs_is_the_same_thing() -> None:
    found = parse_mount("type=tmpfs,dst=/t,tmpfs-size=10m,tmpfs-mode=755", "/")
    assert set(found.options) == set(parse_tmpfs("/t:size=10m,mode=755").options)


texts = st.lists(
    st.sampled_from(["/a", "b", "..", "/", ":", ",", "=", "ro", "type=bind", "src=", "dst=/x", ""]),
    max_size=8,
).map("".join)


@given(text=texts)
def test_any_text_is_a_mount_with_an_absolute_normal_target_or_a_clear_error(text: str) -> None:
    for parse in (parse_volume, parse_mount):
        try:
            found = parse(text, "/cwd")
        except RootlessError:
            continue
        parts = found.target.split("/")
        assert parts[0] == ""
        assert all(part not in ("", ".", "..") for part in parts[1:])
        if found.kind == BIND:
            assert found.source.startswith("/")


class TestCollect:
    def targets(self, request: ContainerRequest, volumes: tuple[str, ...] = ()) -> list[str]:
        return [mount.target for mount in collect(request, volumes, "/")]

    def test_parents_come_before_what_lies_below(self) -> None:
        request = ContainerRequest(volume=("one:/a/b/c", "two:/a"), tmpfs=("/a/b",))
        assert self.targets(request) == ["/a", "/a/b", "/a/b/c"]

    @pytest.mark.parametrize("again", ["x:/a", "/tmp:/a/", "/tmp:/b/../a"])
    def test_a_target_is_given_once(self, again: str) -> None:
        with pytest.raises(UsageError, match="duplicate mount destination"):
            self.targets(ContainerRequest(volume=("data:/a", again)))

    def test_a_volume_of_the_image_gives_way(self) -> None:
        request = ContainerRequest(volume=("data:/a",))
        found = collect(request, ("/a/", "/b"), "/")
        assert [(m.target, m.source) for m in found] == [("/a", "data"), ("/b", "")]

    def test_a_read_only_root_gets_room_to_write(self) -> None:
        request = ContainerRequest(read_only=True, volume=("data:/run",))
        assert sorted(self.targets(request)) == ["/run", "/tmp", "/var/tmp"]
        kinds = {m.target: m.kind for m in collect(request, (), "/")}
        assert kinds["/run"] == VOLUME
        assert kinds["/tmp"] == TMPFS

    def test_a_read_only_root_without_room(self) -> None:
        assert self.targets(ContainerRequest(read_only=True, read_only_tmpfs=False)) == []

    def test_a_missing_source_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(MountSourceMissing, match="absent: no such file") as caught:
            self.targets(ContainerRequest(volume=(f"{tmp_path}/absent:/a",)))
        assert caught.value.remedy

    def test_a_dangling_link_is_missing(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(MountSourceMissing):
            self.targets(ContainerRequest(volume=(f"{tmp_path}/link:/a",)))


def test_entries_of_config_json() -> None:
    assert to_json(parse_volume("data:/b:ro", "/"), "/store/_data") == {
        "destination": "/b",
        "type": "bind",
        "source": "/store/_data",
        "options": ["ro", "rbind", "rprivate", "copyup"],
    }
    assert to_json(parse_tmpfs("/t"), "")["type"] == "tmpfs"


def test_entries_of_inspect() -> None:
    assert to_record(parse_volume("data:/b:ro", "/"), "/store/_data", "data") == {
        "Type": "volume",
        "Name": "data",
        "Source": "/store/_data",
        "Destination": "/b",
        "Driver": "local",
        "Mode": "",
        "Options": ["rbind"],
        "RW": False,
        "Propagation": "rprivate",
    }
