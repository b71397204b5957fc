"""inspect has every member that podman shows, whose clients look for them by name."""

import json

import pytest

from tests.support.command import Command
from tests.system.inspect_keys import KEYS

# Maps whose keys are names that somebody has chosen.
_MAPS = (
    "Annotations", "Labels", "PortBindings", "Ports", "Networks", "Data", "ExposedPorts", "Volumes",
    "Tmpfs", "Config.Config",
)  # fmt: skip


def members(value: object, path: str = "") -> set[str]:
    """Return the paths of all members; those of the entries of a list are one."""
    found = set()
    if isinstance(value, list):
        for item in value:
            found |= members(item, path)
    if isinstance(value, dict) and not path.endswith(_MAPS):
        for key, item in value.items():
            below = f"{path}.{key}" if path else key
            found |= {below} | members(item, below)
    return found


@pytest.mark.parametrize("kind", KEYS)
def test_inspect_has_the_members_of_podman(rpod: Command, image: str, kind: str) -> None:
    rpod("volume", "create", "v")
    rpod("secret", "create", "s", "-", input=b"x")
    rpod("network", "create", "n")
    rpod("pod", "create", "--name", "p", "-p", "18099:80")
    rpod("create", "--name", "c", "-v", "v:/v", "--health-cmd", "true", image)
    name = {"container": "c", "volume": "v", "secret": "s", "network": "n", "pod": "p"}
    try:
        shown = json.loads(rpod(kind, "inspect", name.get(kind, image)).out)
        assert set(KEYS[kind].split()) - members(shown) == set()
    finally:
        rpod("pod", "rm", "-f", "p")
        rpod("rm", "c")
        rpod("secret", "rm", "s")
        rpod("network", "rm", "n")
        rpod("volume", "rm", "v")


def test_inspect_tells_the_command_line_without_a_password(rpod: Command, image: str) -> None:
    rpod("create", "--name", "c", "--creds", "me:secret", image, "echo", "hi")
    text = rpod("inspect", "c").out
    typed = json.loads(text)[0]["Config"]["CreateCommand"]
    assert typed[:4] == ["podman", "create", "--name", "c"]
    assert typed[-2:] == ["echo", "hi"]
    if rpod.prefix[0] != "podman":
        assert "secret" not in text


@pytest.mark.rpod_only  # podman calls a volume used once a container has been started with it
def test_volume_tells_what_uses_it(rpod: Command, image: str) -> None:
    def look() -> tuple[object, ...]:
        (shown,) = json.loads(rpod("volume", "inspect", "v").out)
        return shown["MountCount"], shown["NeedsCopyUp"], shown["NeedsChown"]

    rpod("volume", "create", "v")
    assert look() == (0, True, True)
    rpod("run", "-d", "--name", "c", "-v", "v:/v", image, "sh", "-c", "touch /v/x; sleep 100")
    rpod("exec", "c", "sh", "-c", "until test -e /v/x; do :; done")
    assert look() == (1, False, False)
    rpod("rm", "-f", "-t0", "c")
    assert look() == (0, False, False)
