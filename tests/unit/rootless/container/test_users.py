"""Who `--user` is: the image's passwd(5) and group(5), which may be anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.users import (
    User,
    check_mapped,
    parse_group,
    parse_passwd,
    resolve_user,
)
from rootless.errors import RootlessError, UnknownUser, UsageError
from rootless.linux.userns import IdMaps

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
alice:x:1000:100:Alice:/home/alice:/bin/sh
5:x:55:56::/home/five:/bin/sh
homeless:x:7:8:::
"""
GROUP = b"""root:x:0:
users:x:100:
wheel:x:10:root,alice
audio:x:29:alice
77:x:78:
"""


@pytest.mark.parametrize(
    ("text", "uid", "gid", "groups", "name", "home"),
    [
        pytest.param("", 0, 0, (10,), "root", "/root", id="nobody-said-who"),
        pytest.param("root", 0, 0, (10,), "root", "/root", id="root"),
        pytest.param("alice", 1000, 100, (10, 29), "alice", "/home/alice", id="name"),
        pytest.param("1000", 1000, 100, (10, 29), "alice", "/home/alice", id="number-of-a-name"),
        pytest.param("alice:wheel", 1000, 10, (), "alice", "/home/alice", id="name-and-group"),
        pytest.param("alice:29", 1000, 29, (), "alice", "/home/alice", id="name-and-gid"),
        pytest.param("1234", 1234, 0, (), "", "/", id="unknown-number"),
        pytest.param("1234:5678", 1234, 5678, (), "", "/", id="unknown-numbers"),
        pytest.param("5", 55, 56, (), "5", "/home/five", id="a-name-beats-a-number"),
        pytest.param("alice:77", 1000, 78, (), "alice", "/home/alice", id="a-group-name-beats"),
        pytest.param("homeless", 7, 8, (), "homeless", "/", id="no-home"),
        pytest.param(":wheel", 0, 10, (), "root", "/root", id="group-only"),
    ],
)
def test_user_is_who_the_files_say(
    text: str, uid: int, gid: int, groups: tuple[int, ...], name: str, home: str
) -> None:
    assert resolve_user(text, PASSWD, GROUP) == User(uid, gid, groups, name, home)


@pytest.mark.parametrize("text", ["nobody", "alice:nogroup", "-1", "1000:-1", "1.5", " alice"])
def test_unknown_names_are_named(text: str) -> None:
    with pytest.raises(UnknownUser, match="unable to find") as caught:
        resolve_user(text, PASSWD, GROUP)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["2147483648", "4294967295", "0:4294967296", "alice:", "9" * 5000])
def test_what_is_no_id_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        resolve_user(text, PASSWD, GROUP)


def test_further_groups_are_added_once() -> None:
    user = resolve_user("alice", PASSWD, GROUP, ("audio", "10", "4321"))
    assert user.groups == (10, 29, 4321)


def test_without_files_there_is_root() -> None:
    assert resolve_user("", b"", b"") == User(0, 0, (), "", "/root")


@pytest.mark.parametrize(
    "line",
    [b"", b"::::::", b"x", b"x:y:z", b"a:x:minus:0::/:", b"a:x:1:two::/:", b"\xff\xfe:x:9:9::/:",
     b"a:x:" + b"9" * 5000 + b":0::/:", b"a:x:1:" + b"9" * 5000 + b"::/:", b":" * 4000],
    ids=["empty", "colons", "word", "short", "uid", "gid", "bytes", "long-uid", "long-gid", "many"],
)  # fmt: skip
def test_broken_lines_are_passed_over(line: bytes) -> None:
    passwd = line + b"\n" + PASSWD
    assert resolve_user("alice", passwd, GROUP).uid == 1000


@given(passwd=st.binary(max_size=200), group=st.binary(max_size=200), text=st.text(max_size=12))
def test_any_files_give_a_user_or_a_clear_error(passwd: bytes, group: bytes, text: str) -> None:
    try:
        user = resolve_user(text, passwd, group)
    except RootlessError:
        return
    assert user.uid >= 0
    assert user.gid >= 0


def test_group_of_one_line_with_a_huge_id_is_passed_over() -> None:
    group = b"wheel:x:" + b"9" * 5000 + b":alice\n" + GROUP
    assert resolve_user("alice:wheel", PASSWD, group).gid == 10


def test_names_may_have_any_byte() -> None:
    assert parse_passwd(b"\xe9:x:5:6::/:/bin/sh\n")[0].name == "\udce9"
    assert parse_group(b"g:x:5:\xe9,b\n")[0][2] == ["\udce9", "b"]


class TestMapped:
    maps = IdMaps(((0, 1000, 1), (1, 100_000, 10)), ((0, 1000, 1), (1, 100_000, 10)))

    def test_a_mapped_user_passes(self) -> None:
        user = User(3, 4, (5,), "", "/")
        assert check_mapped(user, self.maps) == user

    @pytest.mark.parametrize(("uid", "gid", "kind"), [(11, 0, "user"), (0, 11, "group")])
    def test_an_unmapped_id_is_named(self, uid: int, gid: int, kind: str) -> None:
        with pytest.raises(UnknownUser, match=f"{kind} id 11"):
            check_mapped(User(uid, gid, (), "", "/"), self.maps)

    def test_unmapped_further_groups_go(self) -> None:
        assert check_mapped(User(0, 0, (5, 99), "", "/"), self.maps).groups == (5,)
