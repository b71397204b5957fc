"""A user's policy.json is obeyed by pulls."""

import json
import os

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
