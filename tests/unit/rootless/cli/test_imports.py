"""What each command loads is pinned: every module costs time at every start."""

import subprocess
import sys

import pytest

FORBIDDEN = {
    "asyncio",
    "click",
    "concurrent.futures",
    "contextlib",
    "ctypes.util",
    "dataclasses",
    "datetime",
    "email",
    "enum",
    "hashlib",
    "http.client",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "pyroute2",
    "re",
    "rich",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tarfile",
    "tempfile",
    "threading",
    "tomli",
    "traceback",
    "typing",
    "urllib.parse",
    "urllib3",
    "zstandard",
}
MAX_DATACLASSES = 15
# -I -S: neither the environment nor site-packages' own imports count.
PROGRAM = """
import sys
sys.path[:0] = {path!r}
import rootless.cli.main
from rootless.cli.fast import parse
invocation = parse({argv!r})
assert invocation is not None
module, _, function = invocation.command.handler.partition(":")
getattr(__import__("rootless.cli.commands." + module, fromlist=[function]), function)
{extra}
classes = sum(
    hasattr(one, "__dataclass_fields__")
    for module in list(sys.modules.values())
    for one in vars(module).values()
    if isinstance(one, type)
)
print(classes, *sys.modules)
"""


def loaded(argv: list[str], extra: str = "") -> tuple[int, set[str]]:
    """Return the number of dataclasses and the modules that a command's start loads."""
    program = PROGRAM.format(path=sys.path, argv=argv, extra=extra)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True
    )
    classes, *modules = done.stdout.split()
    return int(classes), set(modules)


@pytest.mark.parametrize(
    ("argv", "extra"),
    [
        (
            ["run", "--rm", "-it", "i", "sh"],
            "import rootless.container.create, rootless.container.lifecycle, "
            "rootless.container.supervise, rootless.container.remove, "
            "slirp.hosts, slirp.resolv, slirp.slirp4netns, rootless.sandbox.seccomp_x86_64",
        ),
        (["create", "i"], "import rootless.container.create"),
        (["exec", "-it", "c", "sh"], "import rootless.container.exec"),
        (
            ["shell", "i", "sh"],
            "import rootless.container.create, rootless.container.lifecycle, "
            "rootless.container.caller, rootless.container.personal",
        ),
        (["start", "c"], ""),
        (["stop", "c"], ""),
        (["rm", "-f", "c"], ""),
        (["logs", "-f", "c"], "import rootless.container.logs"),
        (["ps", "-a"], ""),
        (["images"], ""),
        (["inspect", "c"], "import rootless.container.query"),
        (["container", "exists", "c"], ""),
        (["volume", "ls"], ""),
        (["image", "exists", "i"], ""),
        (["version"], ""),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_start_loads_nothing_heavy(argv: list[str], extra: str) -> None:
    classes, modules = loaded(argv, extra)
    assert modules & FORBIDDEN == set()
    assert classes <= MAX_DATACLASSES


def test_templates_are_loaded_when_used() -> None:
    _, modules = loaded(["ps", "--format", "{{.ID}}"])
    assert "rootless.cli.template" not in modules


def test_only_the_commands_own_table_is_loaded() -> None:
    _, modules = loaded(["run", "i"])
    tables = {name for name in modules if name.startswith("rootless.cli.spec_")}
    assert tables == {"rootless.cli.spec_run"}


@pytest.mark.parametrize("argv", [["start", "c"], ["run", "-d", "i"], ["stop", "c"]])
def test_client_leaves_to_the_monitor_what_starts_a_container(argv: list[str]) -> None:
    _, modules = loaded(argv, "import rootless.container.create, rootless.container.lifecycle")
    assert not modules & {
        "ctypes",
        "rootless.container.attach",
        "rootless.container.keeper",
        "rootless.container.starting",
        "rootless.container.supervise",
        "rootless.sandbox.child",
        "slirp.slirp4netns",
        "termios",
    }


def test_what_names_the_host_is_left_to_the_monitor() -> None:
    """Making a container without options about names or networks loads nothing of `slirp`."""
    extra = """
import os
import rootless.container.create as create
from rootless.container import etc, spec
from rootless.container.request import ContainerRequest
request = ContainerRequest()
etc.check_network_files(request)
class Host:
    class config:
        network = "slirp4netns"
assert create.choose_network(Host, request) == spec.Network("slirp4netns")
"""
    _, modules = loaded(["create", "i"], extra)
    assert not [name for name in modules if name.startswith("slirp")]


def test_kept_container_costs_no_more_than_the_loop() -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n"
    program += "import rootless.container.keeper\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True
    )
    modules = set(done.stdout.split())
    assert (
        modules & (FORBIDDEN | {"ctypes", "resource", "rootless.images", "rootless.cli"}) == set()
    )
    ours = {name for name in modules if name.startswith(("rootless.", "slirp.", "storage."))}
    assert len(ours) <= 20, ours


def test_making_a_container_needs_no_system_calls_of_ours() -> None:
    _, modules = loaded(["create", "i"], "import rootless.container.create")
    assert "ctypes" not in modules


def test_build_loads_what_executes_a_step_when_one_is_executed() -> None:
    _, modules = loaded(["build", "."], "import rootless.build.run_step")
    unwanted = {
        "ctypes.util", "dataclasses", "email", "http.client", "inspect", "logging", "pathlib",
        "rich", "shutil", "socket", "ssl", "subprocess", "tarfile", "tempfile", "urllib.parse",
        "urllib3", "zstandard", "rootless.build.checks", "rootless.build.executing",
        "rootless.build.mounts", "rootless.build.sandbox", "rootless.cli.build_terminal",
    }  # fmt: skip
    assert modules & unwanted == set()
