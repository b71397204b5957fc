"""run --explain: the plan, and nothing that stays."""

import json
import os

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.rpod_only


def test_plan_says_what_would_be_done(rpod: Command, image: str, account_dir: str) -> None:
    options = (
        "-v",
        f"{account_dir}:/d:ro",
        "--cap-add=SYS_ADMIN",
        "--cap-drop=CHOWN",
        "-u",
        "1000",
    )
    done = rpod("run", "--explain-json", "-v", "new:/n", *options, image, "ls", "/d")
    plan = json.loads(done.out)
    assert plan["command"] == ["ls", "/d"]
    assert plan["user"]["uid"] == 1000
    assert [0, rpod.account.uid, 1] in plan["id_maps"]["uids"]
    assert f"bind {account_dir} on /d" in plan["steps"]
    assert plan["capabilities"]["added_to_default"] == ["CAP_SYS_ADMIN"]
    assert plan["capabilities"]["missing_of_default"] == ["CAP_CHOWN"]
    assert plan["seccomp"]["filter"] == "default"
    assert "bpf" in plan["seccomp"]["allowed_beyond_default"]
    assert plan["limits"]["enforced"]
    assert plan["network"]["mode"]
    assert rpod("ps", "-aq").out == ""
    assert rpod("volume", "ls", "-q").out == ""
    assert os.listdir(account_dir) == []


def test_plan_for_people(rpod: Command, image: str) -> None:
    done = rpod("run", "--explain", "--network=none", "--security-opt", "seccomp=unconfined", image)
    assert "every system call of the kernel is allowed" in done.out
    assert "mode: none" in done.out


def test_plan_shows_a_limit_that_cannot_be_enforced(rpod: Command, image: str) -> None:
    # On a host with a delegated memory controller the plan says how it is enforced.
    done = rpod("run", "--explain-json", "-m", "64m", "--name", "n", image, "ls")
    plan = json.loads(done.out)
    assert plan["command"] == ["ls"]
    assert plan["limits"]["asked"] == ["memory"]
    refused = rpod("create", "-m", "64m", image, check=False)
    reason = "by " if refused.code == 0 else "no, so it would be refused: --memory: "
    assert plan["limits"]["enforced"].startswith(reason)
    assert "67108864" in str(plan["limits"]["resources"]) or "64m" in str(plan["limits"])
    rpod("rm", "--all")
    assert rpod("volume", "ls", "-q").out == ""


def test_plan_of_what_cannot_be_is_an_error(rpod: Command, image: str) -> None:
    done = rpod("run", "--explain", "-v", "/missing:/d", image, check=False)
    assert done.code == 125
    assert "/missing" in done.err
