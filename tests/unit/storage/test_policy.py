"""Policies: the most specific scope decides, and what cannot be verified is refused."""

import json
import pathlib

import pytest

from storage.errors import InvalidDocument, PolicyRefused
from storage.policy import check_policy
from storage.reference import parse_reference

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
DIGEST = "sha256:" + "1" * 64


def _check(directory: pathlib.Path, policy: object, name: str) -> None:
    path = directory / "policy.json"
    path.write_text(policy if isinstance(policy, str) else json.dumps(policy))
    check_policy(parse_reference(name), {"HOME": f"{directory}/none"}, system_path=str(path))


def _docker(**scopes: object) -> dict[str, object]:
    return {"default": REJECT, "transports": {"docker": scopes}}


def test_without_a_policy_everything_is_accepted(tmp_path: pathlib.Path) -> None:
    check_policy(parse_reference("busybox"), {}, system_path=f"{tmp_path}/none")


def test_users_policy_comes_before_the_systems(tmp_path: pathlib.Path) -> None:
    own = tmp_path / ".config/containers"
    own.mkdir(parents=True)
    (own / "policy.json").write_text(json.dumps({"default": ACCEPT}))
    system = tmp_path / "policy.json"
    system.write_text(json.dumps({"default": REJECT}))
    check_policy(parse_reference("x"), {"HOME": str(tmp_path)}, system_path=str(system))
    with pytest.raises(PolicyRefused, match="rejects"):
        check_policy(parse_reference("x"), {"HOME": "/none"}, system_path=str(system))


@pytest.mark.parametrize(
    "scope",
    ["", "*.io", "*.reg.io", "a.reg.io", "a.reg.io/team", "a.reg.io/team/app",
     "a.reg.io/team/app:1"],
)  # fmt: skip
def test_scope_that_covers_the_image_decides(scope: str, tmp_path: pathlib.Path) -> None:
    _check(tmp_path, _docker(**{scope: ACCEPT}), "a.reg.io/team/app:1")


@pytest.mark.parametrize("scope", ["io", "reg.io", "a.reg.io/te", "a.reg.io/team/app:2", "*.b.io"])
def test_scope_of_another_image_does_not(scope: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(PolicyRefused):
        _check(tmp_path, _docker(**{scope: ACCEPT}), "a.reg.io/team/app:1")


def test_more_specific_scope_wins(tmp_path: pathlib.Path) -> None:
    policy = _docker(**{"reg.io": ACCEPT, "reg.io/bad": REJECT, f"reg.io/bad/x@{DIGEST}": ACCEPT})
    _check(tmp_path, policy, "reg.io/good/x")
    _check(tmp_path, policy, f"reg.io/bad/x@{DIGEST}")
    with pytest.raises(PolicyRefused):
        _check(tmp_path, policy, "reg.io/bad/x")


def test_every_requirement_has_to_be_met(tmp_path: pathlib.Path) -> None:
    with pytest.raises(PolicyRefused):
        _check(tmp_path, {"default": ACCEPT + REJECT}, "x")


@pytest.mark.parametrize("kind", ["signedBy", "sigstoreSigned", "signedBaseLayer"])
def test_signature_that_cannot_be_verified_is_refused(kind: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(PolicyRefused, match=kind):
        _check(tmp_path, {"default": [{"type": kind, "keyPath": "/key"}]}, "x")


@pytest.mark.parametrize(
    "policy",
    ["", "[]", "{", {}, {"default": []}, {"default": ACCEPT, "more": 1}, {"default": [{}]},
     {"default": [{"type": "new"}]}, {"default": [1]}, {"default": {"type": "reject"}},
     {"default": ACCEPT, "transports": []}, {"default": ACCEPT, "transports": {"docker": 1}}],
    ids=repr,
)  # fmt: skip
def test_policy_that_is_not_understood_refuses(policy: object, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidDocument, match=r"policy\.json"):
        _check(tmp_path, policy, "x")


def test_policy_that_cannot_be_read_refuses(tmp_path: pathlib.Path) -> None:
    (tmp_path / "policy.json").mkdir()
    with pytest.raises(InvalidDocument):
        check_policy(
            parse_reference("x"), {"HOME": "/none"}, system_path=str(tmp_path / "policy.json")
        )
