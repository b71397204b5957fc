"""A user's policy.json is obeyed by pulls."""

import json
import os

import pytest

from tests.support.command import Command
from tests.support.registry import Registry


def _write(command: Command, directory: str, policy: object) -> None:
    command.shell(f"mkdir -p {directory}/.config/containers")
    path = f"{directory}/.config/containers/policy.json"
    with open(path, "w", encoding="utf-8") as out:
        json.dump(policy, out)
    os.chmod(path, 0o644)


def test_policy_of_the_user_is_obeyed(
    fresh_rpod: Command, registry: Registry, docker_archive: str, account_dir: str
) -> None:
    good, bad = (
        registry.push(f"docker-archive:{docker_archive}", name) for name in ("good/x:1", "bad/x:1")
    )
    accept = [{"type": "insecureAcceptAnything"}]
    scopes = {f"{registry.host}/good": accept}
    _write(
        fresh_rpod,
        account_dir,
        {"default": [{"type": "reject"}], "transports": {"docker": scopes}},
    )
    fresh_rpod("pull", "-q", "--tls-verify=false", good)
    done = fresh_rpod("pull", "-q", "--tls-verify=false", bad, check=False)
    assert done.code == 125
    assert "reject" in done.err
    assert fresh_rpod("image", "exists", bad, check=False).code == 1


@pytest.mark.rpod_only  # podman 4.3 wants gpg to name the keys
def test_policy_is_shown(fresh_rpod: Command) -> None:
    rpod = fresh_rpod
    assert rpod("image", "trust", "show", "-n").out.split() == ["all", "default", "accept"]
    policy = {
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {
                "quay.example/a": [{"type": "insecureAcceptAnything"}],
                "reg.example": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k/one"}],
            }
        },
    }
    rpod.shell(
        "mkdir -p $HOME/.config/containers; cat >$HOME/.config/containers/policy.json <<'A'\n"
        f"{json.dumps(policy)}\nA"
    )
    rows = [line.split() for line in rpod("image", "trust", "show").lines]
    assert rows[1:] == [
        ["all", "default", "reject"],
        ["repository", "quay.example/a", "accept"],
        ["repository", "reg.example", "signed", "one"],
    ]
    assert json.loads(rpod("image", "trust", "show", "--raw").out) == policy
    shown = json.loads(rpod("image", "trust", "show", "--json", "reg.example").out)
    assert [(one["repo_name"], one["type"]) for one in shown] == [("reg.example", "signed")]
    done = rpod("image", "trust", "set", "reg.example", check=False)
    assert done.code == 125 and "policy.json" in done.err
    rpod.shell("echo '{' >$HOME/.config/containers/policy.json")
    assert rpod("image", "trust", "show", check=False).code == 125
