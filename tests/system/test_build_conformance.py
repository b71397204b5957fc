"""`build`: a Containerfile for each row of the language, with the files, settings and history it gives.

Where buildah knows the row it is held to the same files and settings (`--full`). Rows that are about
options, contexts or the network are in the other `test_build` files.
"""

# ruff: noqa: E501 - a case is one line where it can be

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.built import Entry, Image, image_of, merged
from tests.support.command import Command
from tests.system.conformance_cases import CASES, Case

pytestmark = pytest.mark.rpod_only

# What starting a step may leave in the one or the other program's layers.
_OF_THE_START = (
    "proc",
    "sys",
    "dev",
    "run",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/hostname",
    "run/.containerenv",
    "run/secrets",
)
_NAMES = {b"0": "f", b"1": "h", b"2": "l", b"5": "d", b"6": "p"}


def shown(image: Image, *, whole: bool = False) -> list[str]:
    """Return a line for each file that is not in the base image: kind, mode, owner, name, content."""
    base = {} if whole else merged(image.layers[:1])
    lines = []
    for name, entry in sorted(merged(image.layers).items()):
        if name not in (".", *_OF_THE_START) and not is_same(base.get(name), entry):
            lines.append(line_of(name, entry))
    gone = [f"- {name}" for name in base if name not in merged(image.layers)]
    return lines + sorted(gone)


def is_same(one: Entry | None, other: Entry) -> bool:
    return one is not None and one == other


def line_of(name: str, entry: Entry) -> str:
    kind, mode, uid, gid, link, content = entry
    text = f"{_NAMES[kind]} {mode:o} {uid}:{gid} /{name}"
    if link:
        return f"{_NAMES[kind]} /{name} -> {link}"
    return f"{text} {content.decode()!r}" if kind == b"0" else text


def settings(image: Image) -> dict[str, object]:
    found = image.document["config"]
    assert isinstance(found, dict)
    return {key: value for key, value in found.items() if value}


def steps(image: Image) -> list[dict[str, object]]:
    history = image.document["history"]
    assert isinstance(history, list)
    return history[1:] if len(image.layers) and len(history) > 1 else history


def check(case: Case, image: Image) -> None:
    """Compare files and settings with what the case expects."""
    assert shown(image, whole=case.from_scratch) == list(case.tree)
    found = settings(image)
    for key, expected in case.config.items():
        value = found.get(key)
        if key == "Env" and isinstance(value, list):
            value = [one for one in value if not one.startswith(("PATH=", "FROM_IMAGE="))]
        if key == "Labels" and isinstance(value, dict):
            value = {name: text for name, text in value.items() if name in expected}  # type: ignore[operator]
        assert value == expected, key


@pytest.fixture
def context(account_dir: str, image: str, request: pytest.FixtureRequest) -> str:
    case = request.getfixturevalue("case")
    where = f"{account_dir}/context"
    for name, data in {"Containerfile": case.source.replace("BASE", image), **case.files}.items():
        path = f"{where}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if isinstance(data, str) and data.startswith("-> "):
            os.symlink(data[3:], path)
        else:
            with open(path, "wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
            os.chmod(path, 0o755 if name.endswith(".sh") else 0o644)
    account = request.getfixturevalue("account")
    for path, _, names in os.walk(where):
        os.chmod(path, 0o755)
        for name in ("", *names):
            os.chown(f"{path}/{name}", account.uid, account.gid, follow_symlinks=False)
    return where


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_row(rpod: Command, context: str, account_dir: str, case: Case) -> None:
    archive = f"{account_dir}/made.tar"
    options = [option.replace("CONTEXT", context) for option in case.options]
    rpod("build", "-o", f"type=oci,dest={archive}", *options, context, env=case.environment)
    image = image_of(archive)
    check(case, image)
    if case.history:
        texts = [str(step["created_by"]) for step in steps(image)]
        assert texts == list(case.history)
    layers = sum(not step.get("empty_layer") for step in steps(image))
    assert layers + (not case.from_scratch) == len(image.layers)


@pytest.fixture(scope="module")
def buildah(session_command: Command, docker_archive: str) -> Iterator[Command]:
    """buildah with the test image, in a store of its own."""
    if shutil.which("buildah") is None:
        pytest.skip("not installed: buildah")
    home = session_command.account.home
    # It keeps cache mounts below $TMPDIR, by default for all accounts in one place.
    environment = {**session_command.environment, "TMPDIR": home}
    command = Command(session_command.account, environment)
    command.prefix = [
        "buildah", "--root", f"{home}/buildah", "--runroot", f"{command.account.runtime_dir}/buildah",
        "--storage-driver", "overlay",
    ]  # fmt: skip
    command("pull", f"docker-archive:{docker_archive}")
    yield command
    command("rmi", "--all", "--force", check=False)
    subprocess.run(["rm", "-rf", f"{home}/buildah"], check=False)


@pytest.mark.full
@pytest.mark.parametrize(
    "case", [c for c in CASES if not c.not_buildah], ids=lambda case: case.name
)
def test_buildah_does_the_same(
    buildah: Command, context: str, account_dir: str, case: Case
) -> None:
    archive = f"{account_dir}/made.tar"
    options = [option.replace("CONTEXT", context) for option in case.options]
    form = "docker" if case.buildah_docker else "oci"
    buildah("bud", "--isolation", "chroot", "--format", form, "--layers", "-t", "made",
            *options, context, env=case.environment)  # fmt: skip
    buildah("push", "made", f"{form}-archive:{archive}")
    image = image_of(archive)
    check(case, image)
    # The words differ (docs/differences.md); there is one entry for each instruction.
    if case.history:
        assert len(steps(image)) == len(case.history)
