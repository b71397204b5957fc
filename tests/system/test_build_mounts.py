"""`build`: where the mounts of RUN are put, and that nothing of these places is in the image."""

import os
from collections.abc import Callable

import pytest

from tests.support.built import Entry, layers_of
from tests.support.command import Command, Done

pytestmark = pytest.mark.rpod_only

Build = Callable[..., Done]
BASE = """FROM BASE
RUN mkdir -p /full/sub /empty /mode && echo old >/full/old && echo f >/file && chmod 2751 /mode \
 && chown 7:8 /mode && ln -s full /link && ln -s /new/place /dangling && ln -s file /to-file
"""


@pytest.fixture
def build(rpod: Command, image: str, account_dir: str) -> Build:
    """Build an archive from lines on a base with some files; the context has `f` and `d/g`."""
    context = f"{account_dir}/context"
    os.makedirs(f"{context}/d")
    for name in ("f", "d/g", "token"):
        with open(f"{context}/{name}", "w", encoding="ascii") as file:
            file.write(f"of {name}")
    for path in (context, f"{context}/d"):
        os.chmod(path, 0o755)

    def run(lines: str, *options: str, check: bool = True) -> Done:
        with open(f"{context}/Containerfile", "w", encoding="utf-8") as file:
            file.write(BASE.replace("BASE", image) + lines)
        return rpod(
            "build", f"--secret=id=s,src={context}/token", "-o",
            f"type=oci,dest={account_dir}/out.tar", *options, context, check=check,
        )  # fmt: skip

    return run


def last_layer(account_dir: str) -> dict[str, Entry]:
    return layers_of(f"{account_dir}/out.tar")[-1]


# What is mounted where, a command that looks at it, and what is in the layer then.
PLACES = {
    "a new directory": ("type=tmpfs,target=/x", "test -d /x", ()),
    "new directories": ("type=tmpfs,target=/x/y/z", "touch /x/y/z/f", ()),
    "a new file": ("type=bind,source=f,target=/x/f", 'test "$(cat /x/f)" = "of f"', ()),
    "a secret": ("type=secret,id=s,target=/run/a/b", "test -s /run/a/b", ()),
    "a directory that is there": ("type=tmpfs,target=/empty", "touch /empty/f", ()),
    "one with files": ("type=tmpfs,target=/full", "! ls /full/old && touch /full/f", ()),
    "a file that is there": ("type=bind,source=f,target=/file", 'test "$(cat /file)" = "of f"', ()),
    "the working directory": ("type=bind,target=.", "test -f d/g && test -f /full/d/g", ()),
    "relative": ("type=bind,source=d,target=rel/d", "test -f /full/rel/d/g", ()),
    "through a link": ("type=tmpfs,target=/link/x", "touch /full/x/f", ()),
    "a link to a directory": ("type=tmpfs,target=/link", "touch /full/f && test -L /link", ()),
    "a link to a file": ("type=bind,source=f,target=/to-file", 'test "$(cat /file)" = "of f"', ()),
    "a link that leads nowhere": ("type=tmpfs,target=/dangling", "touch /new/place/f", ()),
    "out of the root": ("type=tmpfs,target=/../../x", "touch /x/f", ()),
    "a mode is kept": ("type=cache,target=/mode", "touch /mode/f", ()),
    "a file beside it stays": ("type=tmpfs,target=/x/y", "touch /x/f", ("x", "x/f")),
    "a directory beside it stays": ("type=tmpfs,target=/x/y", "mkdir /x/d", ("x", "x/d")),
    "mode of a new parent stays": ("type=tmpfs,target=/x/y", "chmod 700 /x && touch /x/f",
                                   ("x", "x/f")),
    "one in another": ("type=tmpfs,target=/x --mount=type=cache,target=/x/y",
                       "touch /x/y/f /x/f", ()),
    "file in a bind": ("type=bind,target=/x --mount=type=secret,id=s,target=/x/f",
                       'test "$(cat /x/f)" = "of token"', ()),
    "into a read-only bind": ("type=bind,source=d,target=/x", "! touch /x/h 2>/dev/null", ()),
    "into a writable bind": ("type=bind,source=d,target=/x,rw", "touch /x/h && rm /x/g", ()),
    "one of a read-only tree": ("type=bind,from=base,target=/b", "test -f /b/bin/sh", ()),
    "a file of a stage": ("type=bind,from=base,source=/bin/busybox,target=/b", "test -x /b", ()),
    "remains when it is busy": ("type=tmpfs,target=/x/y", "! rmdir /x/y 2>/dev/null", ()),
    "another user": ("type=cache,id=of-7,target=/x/y,uid=7,mode=0700",
                     "stat -c %u:%a /x/y | grep 7:700", ()),
    "a size": ("type=tmpfs,target=/x,size=3MB", "df -k /x | grep ' 3072 '", ()),
}  # fmt: skip


@pytest.mark.parametrize(("mounts", "command", "left"), PLACES.values(), ids=PLACES)
def test_place_of_a_mount(
    build: Build, image: str, account_dir: str, mounts: str, command: str, left: tuple[str, ...]
) -> None:
    mounts = mounts.replace("from=base", f"from={image}")
    build(f"WORKDIR /full\nRUN --mount={mounts} {command} && touch /made\n")
    assert set(last_layer(account_dir)) - {"."} == {*left, "made"}


@pytest.mark.parametrize(
    ("mounts", "told"),
    [
        ("type=tmpfs,target=/", "the target cannot be /"),
        ("type=tmpfs", "a target is needed"),
        ("type=bind,source=f,target=/full", "/full"),
        ("type=bind,source=d,target=/file", "/file"),
        ("type=tmpfs,target=/file/x", "/file"),
        ("type=bind,source=none,target=/x", "none"),
        ("type=bind,source=f/x,target=/x", "f/x"),
        ("type=bind,from=nothing-there,target=/x", "nothing-there"),
        ("type=tmpfs,target=/x,size=none", "size"),
        ("type=cache,target=/x,sharing=some", "shared, private or locked"),
        ("type=cache,target=/x,mode=9", "mode"),
        ("type=secret,id=other,required", "other"),
        ("type=secret", "id=NAME is needed"),
        ("type=what,target=/x", "what"),
        ("type=bind,target=/x,colour=red", "colour"),
    ],
)  # fmt: skip
def test_place_that_cannot_be(build: Build, mounts: str, told: str) -> None:
    done = build(f"RUN --mount={mounts} echo executed\n", check=False)
    assert done.code == 125
    assert told in done.err
    assert "Containerfile:3" in done.err
    assert "Traceback" not in done.err
    assert "\nexecuted" not in done.out


def test_contents_below_a_mount_are_as_before(build: Build, account_dir: str) -> None:
    build(
        "RUN --mount=type=tmpfs,target=/full --mount=type=bind,source=f,target=/file true\n"
        "RUN cat /full/old /file >/seen; stat -c '%a %u:%g' /mode >>/seen\n"
    )
    assert last_layer(account_dir)["seen"][5] == b"old\nf\n2751 7:8\n"


def test_files_of_the_start_are_in_no_layer(build: Build, account_dir: str) -> None:
    """/etc/hosts, resolv.conf and the like are mounted; what a step makes of them is not kept."""
    build("RUN echo x >>/etc/hosts; echo y >/etc/resolv.conf; touch /dev/x /run/y /made; :\n")
    assert set(last_layer(account_dir)) - {".", "run"} == {"made", "run/y"}
