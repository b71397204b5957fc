"""`build`: what an ignore file leaves out, by the rules that docker documents.

Every row also passes with podman where it is not marked: both read the same file.
"""

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.command import Command
from tests.system.test_build_files import make_files, read_tree

ours = pytest.mark.rpod_only

NAMES = (
    "README.md", "README-secret.md", "notes.md", "temp", "tempa", "temp.txt", "a.go", "Main.c",
    "dir/README.md", "dir/temp1/x", "dir/sub/temp2", "dir/sub/deep/temp3", "dir/b.go",
    "mods/p/index.js", "app/mods/q", "app/keep/k", "app/keep/mods/r", ".env", ".git/config",
    "with space", "#hash", "!bang", "[x]", "x", "a*b", "axb",
)  # fmt: skip

# The text of the ignore file, and which of NAMES it leaves out.
ROWS = {
    "nothing": ("", ()),
    "only comments": ("# *\n#README.md\n\n   \n", ()),
    "one directory down": ("*/temp*", ("dir/temp1/x",)),
    "two directories down": ("*/*/temp*", ("dir/sub/temp2",)),
    "one character": ("temp?", ("tempa",)),
    "any depth": ("**/*.go", ("a.go", "dir/b.go")),
    "any depth by name": ("**/mods", ("mods/p/index.js", "app/mods/q", "app/keep/mods/r")),
    "below a directory": ("app/**", ("app/mods/q", "app/keep/k", "app/keep/mods/r")),
    "between directories": ("app/**/mods", ("app/mods/q", "app/keep/mods/r")),
    "a name is at the top only": ("mods", ("mods/p/index.js",)),
    "a star matches no slash": ("*.go", ("a.go",)),
    "a star matches a leading dot": ("*", NAMES),
    "two stars": ("**", NAMES),
    "a class": ("[a-m]*.go", ("a.go",)),
    "not of a class": ("temp[^.]*", ("tempa",)),
    "upper and lower case": ("main.c\nreadme.md", ()),
    "leading slash": ("/README.md\n/dir/sub", ("README.md", "dir/sub/temp2", "dir/sub/deep/temp3")),
    "trailing slash": ("dir/sub/", ("dir/sub/temp2", "dir/sub/deep/temp3")),
    "a leading dot and slash": ("./notes.md", ("notes.md",)),
    "dots are resolved": ("dir/../notes.md\ndir//sub/./deep", ("notes.md", "dir/sub/deep/temp3")),
    "only a dot": (".\n/\n", ()),
    "out of the context": ("../notes.md\n../../etc", ()),
    "blanks around": ("  notes.md\t \n", ("notes.md",)),
    "blanks inside": ("with space", ("with space",)),
    "ends of lines": ("notes.md\r\ntemp\r\n", ("notes.md", "temp")),
    "no newline at the end": ("temp\nnotes.md", ("temp", "notes.md")),
    "byte order mark": ("\ufeffnotes.md\n", ("notes.md",)),
    "byte order mark and comment": ("\ufeff# notes.md\ntemp\n", ("temp",)),
    "exception": ("*.md\n!README.md", ("README-secret.md", "notes.md")),
    "the last one counts": ("*.md\n!README*.md\nREADME-secret.md",
                            ("README-secret.md", "notes.md")),
    "an exception may be the last": ("*.md\nREADME-secret.md\n!README*.md", ("notes.md",)),
    "an exception before has no effect": ("!README.md\n*.md",
                                          ("README.md", "README-secret.md", "notes.md")),
    "exception below what is left out": ("app\n!app/keep", ("app/mods/q",)),
    "left out again below it": ("app\n!app/keep\napp/keep/mods", ("app/mods/q", "app/keep/mods/r")),
    "all but": ("*\n!dir\n!a.go", tuple(n for n in NAMES if not n.startswith(("dir", "a.go")))),
    "all but at any depth": ("**\n!**/*.go", tuple(n for n in NAMES if not n.endswith(".go"))),
    "all but with a slash": ("*\n!/dir/b.go", tuple(n for n in NAMES if n != "dir/b.go")),
    "blanks after the mark": ("*.md\n! README.md", ("README-secret.md", "notes.md")),
    "escaped star": ("a\\*b", ("a*b",)),
    "escaped bracket": ("\\[x]", ("[x]",)),
    "escaped first character": ("\\#hash\n\\!bang", ("#hash", "!bang")),
    "a comment has no blank before": (" #hash", ("#hash",)),
    "several": (".git\n.env\n**/temp*", (".git/config", ".env", "temp", "tempa", "temp.txt",
                                         "dir/temp1/x", "dir/sub/temp2", "dir/sub/deep/temp3")),
}  # fmt: skip
# buildah 1.28 reads these another way than docker.
_NOT_PODMAN = ("leading slash", "all but at any depth", "blanks after the mark")


@pytest.fixture(scope="module")
def context(session_command: Command) -> Iterator[str]:
    account = session_command.account
    top = f"{account.home}/ignored"
    files: dict[str, str | bytes | None] = dict.fromkeys(NAMES, "x")
    yield make_files(top, files, account.uid, account.gid)


def left_out(rpod: Command, context: str, top: str, *options: str) -> set[str]:
    """Return which of NAMES the context of a build has not."""
    path = f"{top}/Containerfile.of"
    if not os.path.exists(path):
        with open(path, "w", encoding="ascii") as file:
            file.write("FROM scratch\nCOPY . /\n")
    out = f"{top}/out.tar"
    rpod("build", "-f", path, "-o", f"type=tar,dest={out}", *options, context)
    return set(NAMES) - set(read_tree(out).files)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(*row, id=name, marks=ours if name in _NOT_PODMAN else ())
        for name, row in ROWS.items()
    ],
)
def test_pattern_leaves_out(
    rpod: Command, context: str, account_dir: str, text: str, expected: tuple[str, ...]
) -> None:
    path = f"{account_dir}/ignore"
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.chmod(path, 0o644)
    assert left_out(rpod, context, account_dir, f"--ignorefile={path}") == set(expected)


ORDER = (".dockerignore", ".containerignore", "Containerfile.dockerignore",
         "Containerfile.containerignore")  # fmt: skip


@pytest.fixture
def small(rpod: Command, account_dir: str) -> str:
    """A context with two files and a Containerfile that copies all."""
    top = f"{account_dir}/context"
    files: dict[str, str | bytes | None] = {
        "Containerfile": "FROM scratch\nCOPY . /\n", "kept": "x", "sub/lost": "x",
    }  # fmt: skip
    return make_files(top, files, rpod.account.uid, rpod.account.gid)


def add(rpod: Command, top: str, files: dict[str, str | bytes | None]) -> None:
    make_files(top, files, rpod.account.uid, rpod.account.gid)


def copied(rpod: Command, context: str, *options: str, input: bytes = b"") -> set[str]:
    out = f"{os.path.dirname(context.partition('#')[0])}/out.tar" if context != "-" else options[-1]
    rpod("build", *options[:1], "-o", f"type=tar,dest={out}", context, input=input)
    return set(read_tree(out).files)


@ours
def test_first_ignore_file_of_several_counts(rpod: Command, small: str) -> None:
    for number, name in enumerate(ORDER):
        add(rpod, small, {name: f"*\n!{number}\n", str(number): "x"})
        assert copied(rpod, small) == {str(number)}
    add(rpod, small, {"given": "*\n!kept\n"})
    assert copied(rpod, small, f"--ignorefile={small}/given") == {"kept"}


@ours
@pytest.mark.parametrize("where", ["sub/App.Dockerfile", "../outside/App.Dockerfile"])
def test_ignore_file_lies_beside_its_containerfile(rpod: Command, small: str, where: str) -> None:
    add(rpod, small, {".dockerignore": "*\n"})
    add(rpod, os.path.dirname(f"{small}/{where}"), {
        "App.Dockerfile": "FROM scratch\nCOPY . /\n",
        "App.Dockerfile.dockerignore": "sub\nContainerfile\n",
    })  # fmt: skip
    assert copied(rpod, small, f"--file={small}/{where}") == {"kept", ".dockerignore"}


def test_ignored_containerfile_is_used_all_the_same(rpod: Command, small: str) -> None:
    add(rpod, small, {".dockerignore": "Containerfile\n.dockerignore\nsub\n"})
    assert copied(rpod, small) == {"kept"}


@ours
def test_what_is_left_out_is_nowhere_in_the_build(rpod: Command, small: str, image: str) -> None:
    """COPY and ADD by name and by wildcard, and the bind mount of the context."""
    source = (
        f"FROM {image}\nRUN --mount=type=bind,target=/m ls -A /m /m/sub | tr '\\n' ' '\n"
        "COPY s* Containerfile /all/\nRUN find /all | tr '\\n' ' '\n"
    )
    add(rpod, small, {".dockerignore": "sub/lost\nkept\n", "Containerfile": source})
    done = rpod("build", "--no-cache", small)
    assert "\n/m: .dockerignore Containerfile sub  /m/sub: --> " in done.out
    assert "\n/all /all/Containerfile --> " in done.out
    assert "lost" not in done.out + done.err
    for line in ("COPY kept /", "ADD kept /", "COPY sub/lost /", "COPY sub/l* /", "ADD k* /"):
        add(rpod, small, {"Containerfile": f"FROM scratch\n{line}\n"})
        failed = rpod("build", small, check=False)
        assert failed.code == 125
        assert "Containerfile:2" in failed.err
        assert "ignore" in failed.err


def test_link_and_its_target_are_left_out_apart(rpod: Command, small: str) -> None:
    add(rpod, small, {"to-kept": "-> kept", "to-sub": "-> sub", ".dockerignore":
                      "kept\nto-sub\nContainerfile\n.dockerignore\n"})  # fmt: skip
    assert copied(rpod, small) == {"to-kept", "sub/lost"}


@ours
def test_archive_has_an_ignore_file(rpod: Command, small: str, account_dir: str) -> None:
    add(rpod, small, {".dockerignore": "sub\nContainerfile\n.*\n"})
    archive = subprocess.run(["tar", "-cC", small, "."], capture_output=True, check=True).stdout
    assert copied(rpod, "-", "--pull=never", f"{account_dir}/a.tar", input=archive) == {"kept"}


@ours
@pytest.mark.parametrize("text", ["[a-", "!", "a\\", "x\0y"], ids=repr)
def test_malformed_pattern_is_named(rpod: Command, small: str, text: str) -> None:
    add(rpod, small, {".dockerignore": f"ok\n{text}\n"})
    done = rpod("build", small, check=False)
    assert done.code == 125
    assert ".dockerignore" in done.err
