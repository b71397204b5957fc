"""`build`: COPY and ADD, their flags, contexts, ignore files: each row with the tree it makes."""

import contextlib
import hashlib
import http.server
import io
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from tests.support.command import Command, Done
from tests.support.images import File, directory, symlink, tar

FILES: dict[str, str | bytes | None] = {
    "a.txt": "a",
    "b.txt": "b",
    "dir/c.txt": "c",
    "dir/run.sh": "#!/bin/sh\n",
    "dir/sub/d.txt": "d",
    "dir/link": "-> c.txt",
    "to-dir": "-> dir",
    "to-file": "-> a.txt",
    "outside": "-> /etc/hostname",
    "root/etc/passwd": "root:x:0:0::/:\nalice:x:1000:1001::/:\n",
    "root/etc/group": "root:x:0:\ngrp:x:77:\n",
    "root/usr/lib/so": "so",
    "root/lib": "-> usr/lib",
    "root/up": "-> ../../../../usr/lib",
    "root/srv/old": "old",
    "archive.bin": tar([directory("in"), File("in/f", b"f", 0o640, uid=5, gid=6),
                        symlink("in/l", "f")]),
}  # fmt: skip


def make_files(top: str, files: Mapping[str, str | bytes | None], uid: int, gid: int) -> str:
    for name, content in files.items():
        path = f"{top}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if content is None:
            os.makedirs(path, exist_ok=True)
        elif isinstance(content, str) and content.startswith("-> "):
            os.symlink(content[3:], path)
        else:
            with open(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            os.chmod(path, 0o755 if name.endswith(".sh") else 0o644)
    for path, directories, names in os.walk(top):
        os.chmod(path, 0o755)
        for name in (*directories, *names):
            os.chown(f"{path}/{name}", uid, gid, follow_symlinks=False)
    os.chown(top, uid, gid)
    return top


class Tree(NamedTuple):
    """What a build has made: contents and `-> targets` by name, and all members."""

    files: dict[str, str]
    members: dict[str, tarfile.TarInfo]


class Builder:
    """Builds on a context of its own and reads the root file system that comes out."""

    def __init__(self, rpod: Command, top: str) -> None:
        self.rpod = rpod
        self.top = top
        self.context = f"{top}/context"
        account = rpod.account
        make_files(self.context, FILES, account.uid, account.gid)

    def add(self, files: Mapping[str, str | bytes | None]) -> None:
        make_files(self.context, files, self.rpod.account.uid, self.rpod.account.gid)

    def run(
        self, source: str, *options: str, check: bool = True, context: str = "", input: bytes = b""
    ) -> Done:
        self.add({"Containerfile": source})
        return self.rpod("build", *options, context or self.context, check=check, input=input)

    def tree(self, source: str, *options: str, context: str = "", input: bytes = b"") -> Tree:
        """Return the files outside of root/, which most rows begin with."""
        out = f"{self.top}/out.tar"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(out)
        self.run(source, *options, "-o", f"type=tar,dest={out}", context=context, input=input)
        return read_tree(out)


def read_tree(path: str) -> Tree:
    files = {}
    members = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.removeprefix("./").strip("/")
            members[name] = member
            if member.issym():
                files[name] = f"-> {member.linkname}"
            elif member.isreg() or member.islnk():
                file = archive.extractfile(member)
                assert file is not None
                files[name] = file.read().decode(errors="replace")
    return Tree(files, members)


@pytest.fixture
def build(rpod: Command, account_dir: str) -> Builder:
    return Builder(rpod, account_dir)


DIR = {"c.txt": "c", "run.sh": "#!/bin/sh\n", "sub/d.txt": "d", "link": "-> c.txt"}


def below(prefix: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}/{name}": content for name, content in files.items()}


ours = pytest.mark.rpod_only


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY a.txt /x", {"x": "a"}),
        ("COPY a.txt /x/", {"x/a.txt": "a"}),
        ("COPY ../a.txt /x", {"x": "a"}),
        ('COPY ["a.txt", "/x y/"]', {"x y/a.txt": "a"}),
        ("COPY *.txt /x/", {"x/a.txt": "a", "x/b.txt": "b"}),
        ("COPY dir /x", below("x", DIR)),
        ("COPY to-dir /x", below("x", DIR)),
        ("COPY to-file /x", {"x": "a"}),
        ("COPY dir a.txt /x/", below("x", DIR) | {"x/a.txt": "a"}),
        ("COPY a.txt b* /x/", {"x/a.txt": "a", "x/b.txt": "b"}),
        ("WORKDIR /w\nCOPY a.txt rel/", {"w/rel/a.txt": "a"}),
        ("WORKDIR /w\nCOPY a.txt .", {"w/a.txt": "a"}),
        ("ADD archive.bin /x", {"x/in/f": "f", "x/in/l": "-> f"}),
        ("ADD a.txt /x/", {"x/a.txt": "a"}),
        ("COPY a.txt /one\nCOPY b.txt /one", {"one": "b"}),
        pytest.param("COPY <<E /x\none $HOME\nE", {"x": "one \n"}, marks=ours),
        pytest.param("COPY <<'E' /x\none $HOME\nE", {"x": "one $HOME\n"}, marks=ours),
        pytest.param("COPY <<one <<two /x/\n1\none\n2\ntwo", {"x/one": "1\n", "x/two": "2\n"},
                     marks=ours),
        pytest.param("ADD --unpack=false archive.bin /x/", None, marks=ours),
        pytest.param("COPY --parents dir/sub/d.txt /x/", {"x/dir/sub/d.txt": "d"}, marks=ours),
        pytest.param("COPY --parents dir/./**/*.txt /x/", {"x/c.txt": "c", "x/sub/d.txt": "d"},
                     marks=ours),
        pytest.param("COPY --exclude=sub --exclude=*.sh dir /x",
                     {"x/c.txt": "c", "x/link": "-> c.txt"}, marks=ours),
        pytest.param("COPY --link a.txt /x/", {"x/a.txt": "a"}, marks=ours),
    ],
)  # fmt: skip
def test_copy_makes_the_tree(build: Builder, line: str, expected: dict[str, str] | None) -> None:
    tree = build.tree(f"FROM scratch\n{line}\n")
    if expected is None:
        assert list(tree.files) == ["x/archive.bin"]
    else:
        assert tree.files == expected


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("COPY a.txt /lib/new", "usr/lib/new"),
        ("COPY a.txt /lib/", "usr/lib/a.txt"),
        ("COPY a.txt /up/x", "usr/lib/x"),
        ("COPY a.txt /srv", "srv/a.txt"),
        ("COPY a.txt /../../x", "x"),
        pytest.param("COPY --link a.txt /lib/", "lib/a.txt", marks=ours),
    ],
)
def test_links_of_the_target_stay_in_the_root(build: Builder, line: str, name: str) -> None:
    tree = build.tree(f"FROM scratch\nCOPY root /\n{line}\n")
    assert tree.files[name] == "a"


@pytest.mark.parametrize(
    ("flag", "owner", "mode"),
    [
        ("", (0, 0), 0o644),
        ("--chown=alice", (1000, 1001), 0o644),
        ("--chown=alice:grp", (1000, 77), 0o644),
        ("--chown=12:34", (12, 34), 0o644),
        ("--chown=12", (12, 12), 0o644),
        ("--chmod=0600", (0, 0), 0o600),
        pytest.param("--chmod=u=rwX,go=", (0, 0), 0o600, marks=ours),
    ],
)
def test_owner_and_mode(build: Builder, flag: str, owner: tuple[int, int], mode: int) -> None:
    tree = build.tree(f"FROM scratch\nCOPY root /\nCOPY {flag} dir /new/dir\n")
    found = tree.members["new/dir/c.txt"]
    assert ((found.uid, found.gid), found.mode) == (owner, mode)
    assert (tree.members["new/dir"].uid, tree.members["new"].gid) == owner


def test_unknown_owner_is_an_error(build: Builder) -> None:
    done = build.run("FROM scratch\nCOPY root /\nCOPY --chown=bob a.txt /\n", check=False)
    assert done.code == 125
    assert "bob" in done.err


def test_copy_from_a_stage_keeps_owners(build: Builder, image: str) -> None:
    source = f"""FROM {image} AS one
RUN mkdir /d && echo 1 >/d/f && ln /d/f /d/g && ln -s f /d/l && chown 7:8 /d/f && chmod 600 /d/f
RUN rm -r /d/g && echo 2 >/d/h
FROM scratch
COPY --from=one /d /d
COPY --from=0 /etc/passwd /p
"""
    tree = build.tree(source)
    assert {name: tree.files[name] for name in ("d/f", "d/h", "d/l")} == {
        "d/f": "1\n", "d/h": "2\n", "d/l": "-> f",
    }  # fmt: skip
    assert "d/g" not in tree.files
    assert "alice" in tree.files["p"]
    assert (tree.members["d/f"].uid, tree.members["d/f"].gid) == (7, 8)


def test_copy_from_an_image_and_a_context(build: Builder, image: str) -> None:
    make_files(f"{build.top}/more", {"f": "more"}, *build.rpod.account[1:3])
    tree = build.tree(
        f"FROM scratch\nCOPY --from={image} /home/alice/notes /n\nCOPY --from=more f /f\n",
        f"--build-context=more={build.top}/more",
    )
    assert tree.files == {"n": "of alice\n", "f": "more"}
    assert tree.members["n"].uid == 1000


# What is left out.


@pytest.mark.parametrize("name", [".dockerignore", ".containerignore"])
def test_ignore_file(build: Builder, name: str) -> None:
    build.add({name: "*\n!dir\ndir/*.sh\n# comment\n!dir/sub/../link\n"})
    tree = build.tree("FROM scratch\nCOPY . /x\n")
    assert set(tree.files) == {"x/dir/c.txt", "x/dir/sub/d.txt", "x/dir/link"}


@pytest.mark.rpod_only
def test_ignore_file_of_the_containerfile_comes_first(build: Builder) -> None:
    build.add({".dockerignore": "dir\n", "Containerfile.dockerignore": "*\n!a.txt\n"})
    assert set(build.tree("FROM scratch\nCOPY . /x\n").files) == {"x/a.txt"}


def test_ignored_source_is_an_error(build: Builder) -> None:
    build.add({".dockerignore": "a.txt\n"})
    done = build.run("FROM scratch\nCOPY a.txt /\n", check=False)
    assert done.code != 0


# Bad contexts.


def test_link_out_of_the_context_reaches_nothing(build: Builder) -> None:
    assert build.run("FROM scratch\nCOPY outside /x\n", check=False).code != 0
    # As part of a directory it is copied as a link.
    tree = build.tree("FROM scratch\nCOPY . /x\n")
    assert tree.files["x/outside"] == "-> /etc/hostname"


@pytest.mark.rpod_only
def test_odd_files_of_a_context(build: Builder) -> None:
    top = f"{build.context}/odd"
    os.makedirs(top)
    os.mkfifo(f"{top}/fifo")
    os.symlink("loop", f"{top}/loop")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(top, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        build.add({})
        done = build.run("FROM scratch\nCOPY odd /x\n", "-o", f"type=tar,dest={build.top}/out.tar")
    assert "socket was left out" in done.err
    members = read_tree(f"{build.top}/out.tar").members
    assert set(members) >= {"x/fifo", "x/loop"}
    assert "x/socket" not in members
    done = build.run("FROM scratch\nCOPY odd/loop /x\n", check=False)
    assert "too many symbolic links" in done.err


@pytest.mark.rpod_only
def test_a_directory_is_no_containerfile(build: Builder) -> None:
    done = build.rpod("build", "-f", build.context, build.context, check=False)
    assert done.code == 125
    assert f"read {build.context}: it is a directory" in done.err


@pytest.mark.rpod_only
def test_unreadable_file_is_named(build: Builder) -> None:
    path = f"{build.context}/secret"
    build.add({"secret": "x"})
    os.chmod(path, 0)
    if os.getuid() == 0:
        os.chown(path, 0, 0)
    done = build.run("FROM scratch\nCOPY . /x\n", check=False)
    if os.getuid() == 0:
        assert done.code == 125
        assert "secret: Permission denied" in done.err
    build.add({".dockerignore": "secret\n"})
    build.run("FROM scratch\nCOPY . /x\n")


@pytest.mark.rpod_only
@pytest.mark.parametrize(
    "members",
    [
        [File("../../../../../../tmp/rpt-escape", b"1")],
        [symlink("l", "/tmp"), File("l/rpt-escape", b"1")],
        [symlink("l", "../../../../../../../tmp"), File("l/rpt-escape", b"1")],
        [File("h", kind=tarfile.LNKTYPE, link="/etc/hostname")],
    ],
    ids=["dots", "absolute-link", "relative-link", "hard-link"],
)
def test_hostile_archive_writes_nothing_outside(build: Builder, members: list[File]) -> None:
    build.add({"bad.tar": tar(members)})
    done = build.run("FROM scratch\nADD bad.tar /x\n", "-o", f"{build.top}/tree", check=False)
    assert not os.path.exists("/tmp/rpt-escape")
    if done.code == 0:
        assert os.path.lexists(f"{build.top}/tree/tmp/rpt-escape")


@pytest.mark.rpod_only
def test_local_output_follows_no_link(build: Builder) -> None:
    outside = make_files(f"{build.top}/outside", {"kept": "mine"}, *build.rpod.account[1:3])
    make_files(f"{build.top}/tree", {"dir": f"-> {outside}"}, *build.rpod.account[1:3])
    build.run("FROM scratch\nCOPY dir /dir\n", "-o", f"{build.top}/tree", check=False)
    assert os.listdir(outside) == ["kept"]


# Contexts from elsewhere.


def test_containerfile_on_standard_input(build: Builder, image: str) -> None:
    source = f"FROM {image}\nRUN echo hi >/f\n".encode()
    build.rpod("build", "-t", "from-stdin", "-", input=source)
    assert build.rpod("run", "--rm", "from-stdin", "cat", "/f").out == "hi\n"


@pytest.mark.rpod_only  # podman opens /dev/stdin, which belongs to whoever started the tests
def test_containerfile_on_standard_input_with_a_context(build: Builder) -> None:
    source = b"FROM scratch\nCOPY a.txt /\n"
    build.rpod("build", "-t", "with-f", "-f", "-", build.context, input=source)


@pytest.mark.parametrize("compression", ["", "gz", "xz"])
def test_archive_on_standard_input(build: Builder, compression: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, text in (("Dockerfile", "FROM scratch\nCOPY d/f /x\n"), ("d/f", "text")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    tree = f"{build.top}/tree.tar"
    build.rpod("build", "-o", f"type=tar,dest={tree}", "-", input=out.getvalue())
    assert read_tree(tree).files == {"x": "text"}


@pytest.mark.rpod_only
def test_hostile_archive_as_context_shows_nothing_of_the_host(build: Builder) -> None:
    data = tar([symlink("Dockerfile", "/etc/passwd")])
    done = build.rpod("build", "-", input=data, check=False)
    assert done.code == 125
    assert "root:" not in done.err
    data = tar([File("Dockerfile", b"FROM scratch\nCOPY l /x\n"), symlink("l", "/etc/passwd")])
    assert build.rpod("build", "-", input=data, check=False).code == 125


class _Server(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes] = {}  # noqa: RUF012 - one for the module, on purpose
    seen: list[tuple[str, int]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        data = self.files.get(self.path)
        status = 404 if data is None else 200
        tag = f'"{hashlib.sha256(data or b"").hexdigest()}"'
        if data is not None and self.headers.get("If-None-Match") == tag:
            status = 304
        self.seen.append((self.path, status))
        self.send_response(status)
        self.send_header("ETag", tag)
        self.send_header("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")
        self.send_header("Content-Length", str(len(data or b"") if status == 200 else 0))
        self.end_headers()
        if status == 200:
            self.wfile.write(data or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[_Server]]]:
    class Handler(_Server):
        files: dict[str, bytes] = {}  # noqa: RUF012
        seen: list[tuple[str, int]] = []  # noqa: RUF012

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", Handler
        running.shutdown()
        thread.join()


def test_add_of_a_url(build: Builder, server: tuple[str, type[_Server]]) -> None:
    url, handler = server
    handler.files["/dir/name.tar"] = FILES["archive.bin"]  # type: ignore[assignment]
    tree = build.tree(f"FROM scratch\nADD {url}/dir/name.tar /x/\nADD {url}/dir/name.tar /y\n")
    assert set(tree.files) == {"x/name.tar", "y"}  # not unpacked
    assert stat.S_IMODE(tree.members["y"].mode) == 0o600
    assert tree.members["y"].mtime == 1_700_000_000


@pytest.mark.rpod_only
def test_url_is_asked_again_and_read_once(
    build: Builder, server: tuple[str, type[_Server]]
) -> None:
    url, handler = server
    handler.files["/f"] = b"1"
    source = f"FROM scratch\nADD {url}/f /f\n"
    assert build.tree(source).files == {"f": "1"}
    assert build.tree(source).files == {"f": "1"}
    assert handler.seen == [("/f", 200), ("/f", 304)]
    handler.files["/f"] = b"2"
    assert build.tree(source).files == {"f": "2"}


@pytest.mark.rpod_only
def test_checksum_of_a_url(build: Builder, server: tuple[str, type[_Server]]) -> None:
    url, handler = server
    handler.files["/f"] = b"1"
    right = hashlib.sha256(b"1").hexdigest()
    assert build.tree(f"FROM scratch\nADD --checksum=sha256:{right} {url}/f /f\n").files
    for wrong in (f"sha256:{'0' * 64}", "md5:1", "sha256:1"):
        done = build.run(f"FROM scratch\nADD --checksum={wrong} {url}/f /f\n", check=False)
        assert done.code == 125
    assert build.run(f"FROM scratch\nADD {url}/missing /f\n", check=False).code == 125


@pytest.mark.rpod_only
def test_context_by_url(build: Builder, server: tuple[str, type[_Server]]) -> None:
    url, handler = server
    handler.files["/c.tgz"] = tar(
        [File("Dockerfile", b"FROM scratch\nCOPY f /f\n"), File("f", b"1")]
    )
    handler.files["/Dockerfile"] = b"FROM scratch\nLABEL from=url\n"
    out = f"{build.top}/out.tar"
    build.rpod("build", "-o", f"type=tar,dest={out}", f"{url}/c.tgz")
    assert read_tree(out).files == {"f": "1"}
    build.rpod("build", "-t", "by-url", f"{url}/Dockerfile")


@pytest.fixture
def repository(build: Builder) -> Iterator[str]:
    """URL of a repository with a branch, a tag and a hostile link, served by git itself."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    top = f"{build.top}/repositories/app.git"
    os.makedirs(top)

    def git(*words: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main")
        subprocess.run(
            ["git", *identity, *words], cwd=top, check=True, capture_output=True,
            env={**os.environ, "GIT_COMMITTER_DATE": "1600000000 +0000", "HOME": build.top},
        )  # fmt: skip

    git("init", "-q")
    make_files(top, {"f": "main", "sub/Dockerfile": "FROM scratch\nCOPY g /g\n", "sub/g": "g",
                     "evil": "-> /etc"}, os.getuid(), os.getgid())  # fmt: skip
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "other")
    make_files(top, {"f": "other"}, os.getuid(), os.getgid())
    git("commit", "-qam", "two")
    git("tag", "v1")
    git("checkout", "-q", "main")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    daemon = subprocess.Popen(
        ["git", "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}",
         f"--base-path={build.top}/repositories"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
             "GIT_CONFIG_VALUE_0": "*"},
    )  # fmt: skip
    try:
        end_s = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < end_s
                time.sleep(0.02)
        yield f"git://127.0.0.1:{port}/app.git"
    finally:
        os.killpg(daemon.pid, 9)
        daemon.wait()


@pytest.mark.rpod_only
def test_git_as_source_and_context(build: Builder, repository: str) -> None:
    tree = build.tree(
        f"FROM scratch\nADD {repository} /m\nADD {repository}#other /o\n"
        f"ADD {repository}#v1:sub /s\n"
    )
    assert tree.files["m/f"] == "main"
    assert tree.files["o/f"] == "other"
    assert tree.files["s/g"] == "g"
    assert not any(".git" in name for name in tree.members)
    assert tree.members["m/f"].mtime == 1_600_000_000
    tree = build.tree(f"FROM scratch\nADD --keep-git-dir {repository} /m\n")
    assert "m/.git" in tree.members
    for query, name in (
        ("branch=other", "f"), ("tag=v1&subdir=sub", "g"),
        ("ref=v1&subdir=sub&submodules=false", "g"),
        ("branch=main&keep-git-dir=true", ".git/HEAD"),
    ):  # fmt: skip
        assert f"q/{name}" in build.tree(f"FROM scratch\nADD {repository}?{query} /q\n").files
    for query in ("colour=red", "ref=a&tag=b", "ref=--upload-pack=x", "checksum=main"):
        done = build.run(f"FROM scratch\nADD {repository}?{query} /q\n", check=False)
        assert done.code == 125, query
    out = f"{build.top}/out.tar"
    build.rpod("build", "-o", f"type=tar,dest={out}", f"{repository}#main:sub")
    assert read_tree(out).files == {"g": "g"}
    for wrong in ("#missing", "#main:nowhere", "#main:evil", "#--upload-pack=touch /tmp/x"):
        done = build.rpod("build", f"{repository}{wrong}", check=False)
        assert done.code == 125, wrong


@pytest.mark.rpod_only
def test_checksum_of_a_commit(build: Builder, repository: str) -> None:
    top = f"{build.top}/repositories/app.git"
    shown = ["git", "-c", f"safe.directory={top}", "-C", top, "rev-parse", "main", "other"]
    right, wrong = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split()
    for add in (
        f"ADD --checksum={right} {repository}#main /m",
        f"ADD --checksum={right[:12]} {repository}?branch=main /m",
        f"ADD {repository}?branch=main&checksum={right} /m",
        f"ADD {repository}?commit={right} /m",
        f"ADD {repository}?commit={right[:10]} /m",
    ):
        assert build.tree(f"FROM scratch\n{add}\n").files["m/f"] == "main"
    for add in (
        f"ADD --checksum={wrong} {repository}#main /m",
        f"ADD {repository}?branch=main&checksum={wrong} /m",
    ):
        done = build.run(f"FROM scratch\n{add}\n", check=False)
        assert done.code == 125
        assert f"is the commit {right}, not {wrong}" in done.err


# The cache.


@pytest.mark.rpod_only
def test_cache_sees_contents_and_not_times(build: Builder) -> None:
    source = "FROM scratch\nCOPY dir /x\n"
    build.run(source, "-t", "cached")
    os.utime(f"{build.context}/dir/c.txt", (5, 5))
    assert "Using cache" in build.run(source, "-t", "cached").out
    build.add({"dir/c.txt": "C"})
    assert "Using cache" not in build.run(source, "-t", "cached").out
    os.chmod(f"{build.context}/dir/c.txt", 0o600)
    assert "Using cache" not in build.run(source, "-t", "cached").out
    build.add({"dir/new": ""})
    assert "Using cache" not in build.run(source, "-t", "cached").out
