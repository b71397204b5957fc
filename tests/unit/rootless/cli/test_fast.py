"""The fast parser reads arguments as pflag does."""

import pytest

from rootless.cli.fast import parse, parse_integer, parse_size


def given(*argv: str) -> dict[str, object]:
    invocation = parse(argv)
    assert invocation is not None
    return invocation.given


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["run", "i"], {"image": "i", "command": ()}),
        (["run", "i", "-x", "--", "y"], {"image": "i", "command": ("-x", "--", "y")}),
        (["run", "--", "i", "c"], {"image": "i", "command": ("c",)}),
        (
            ["run", "-it", "i"],
            {"interactive": True, "tty": True, "image": "i", "command": ()},
        ),
        (["run", "--rm=false", "i"], {"rm": False, "image": "i", "command": ()}),
        (["run", "-d=0", "i"], {"detach": False, "image": "i", "command": ()}),
        (["run", "--rm", "--rm=F", "i"], {"rm": False, "image": "i", "command": ()}),
        (["run", "-v", "a:b", "i"], {"volume": ("a:b",), "image": "i", "command": ()}),
        (["run", "-va:b", "i"], {"volume": ("a:b",), "image": "i", "command": ()}),
        (["run", "-v=a:b", "i"], {"volume": ("a:b",), "image": "i", "command": ()}),
        (["run", "-e=A=b", "-eC", "i"], {"env": ("A=b", "C"), "image": "i", "command": ()}),
        (
            ["run", "-ite", "A=", "i"],
            {"interactive": True, "tty": True, "env": ("A=",), "image": "i", "command": ()},
        ),
        (["run", "--net", "none", "i"], {"network": ("none",), "image": "i", "command": ()}),
        (["run", "--name=", "i"], {"name": "", "image": "i", "command": ()}),
        (
            ["run", "--cap-drop", "a,b", "--cap-drop=c", "i"],
            {"cap_drop": ("a", "b", "c"), "image": "i", "command": ()},
        ),
        (["run", "--shm-size", "1g", "i"], {"shm_size": 1 << 30, "image": "i", "command": ()}),
        (
            ["run", "--stop-timeout", "-1", "i"],
            {"stop_timeout": -1, "image": "i", "command": ()},
        ),
        (["ps", "-aq", "--filter", "a=b"], {"all": True, "quiet": True, "filter": ("a=b",)}),
        (["rm", "a", "-f", "b"], {"force": True, "containers": ("a", "b")}),
        (["rm", "a", "--", "-f"], {"containers": ("a", "-f")}),
        (["import", "-"], {"path": "-"}),
        (["import", "-", "name"], {"path": "-", "reference": "name"}),
        (["container", "ls"], {}),
        (["stop", "--timeout", "3", "a"], {"time": 3, "containers": ("a",)}),
        (["top", "a", "-eo", "pid"], {"words": ("a", "-eo", "pid")}),
    ],
    ids=" ".join,
)
def test_parse_reads_as_pflag(argv: list[str], expected: dict[str, object]) -> None:
    assert given(*argv) == expected


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["bogus"],
        ["image"],
        ["image", "bogus"],
        ["run"],
        ["run", "--help"],
        ["ps", "-h"],
        ["ps", "extra"],
        ["run", "--bogus", "i"],
        ["run", "-iZ", "i"],
        ["run", "--name"],
        ["run", "--rm=maybe", "i"],
        ["run", "--stop-timeout", "soon", "i"],
        ["run", "--pull", "perhaps", "i"],
        ["run", "--rdt-class", "one", "i"],
        ["import", "a", "b", "c"],
        ["tag", "a"],
        ["--bogus", "ps"],
    ],
    ids=lambda argv: " ".join(argv) or "nothing",
)
def test_parse_leaves_to_click(argv: list[str]) -> None:
    assert parse(argv) is None


@pytest.mark.parametrize(
    "argv",
    [["--root", "/s", "ps"], ["ps", "--root", "/s"], ["--root=/x", "ps", "--root=/s"]],
    ids=["before", "after", "both"],
)
def test_global_options_go_before_and_after_the_command(argv: list[str]) -> None:
    invocation = parse(argv)
    assert invocation is not None
    assert invocation.settings == {"root": "/s"}
    assert invocation.given == {}


def test_version_needs_no_command() -> None:
    invocation = parse(["--version"])
    assert invocation is not None
    assert invocation.command.handler == "system:short_version"


def test_values_have_the_tables_defaults() -> None:
    invocation = parse(["ps"])
    assert invocation is not None
    assert invocation.flag("all") is False
    assert invocation.texts("filter") == ()
    assert invocation.number("last") == -1
    assert invocation.text("sort") == "created"


def test_values_of_another_command_are_an_error() -> None:
    invocation = parse(["ps"])
    assert invocation is not None
    with pytest.raises(LookupError):
        invocation.value("volume")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("100", 100),
        ("1b", 1),
        ("2k", 2048),
        ("64m", 64 << 20),
        ("64MB", 64 << 20),
        ("64MiB", 64 << 20),
        ("1.5g", 3 << 29),
        ("1 g", 1 << 30),
        ("1T", 1 << 40),
    ],
)
def test_parse_size_reads_go_units(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1.2.3", "0x10", "1mm", "9" * 30])
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "-", "1.0", "0x1", "1_0", "\u0661", "1" * 30])
def test_parse_integer_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number"):
        parse_integer(text)
