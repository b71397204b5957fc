"""Policies: the most specific scope decides, and what cannot be verified is refused."""

import json
import pathlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import InvalidDocument, PolicyRefused
from storage.policy import Demand, check_policy, check_source_policy
from storage.reference import parse_reference
from storage.registry.lookaside import find_lookaside, read_yaml
from storage.verify import is_identity

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


def test_wanted_signature_is_returned(tmp_path: pathlib.Path) -> None:
    wanted = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/key"}
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"default": [*ACCEPT, wanted]}))
    (demand,) = check_policy(parse_reference("x"), {}, system_path=str(path))
    assert (demand.kind, demand.key_paths) == ("signedBy", ("/key",))
    assert demand.identity == "matchRepoDigestOrExact"


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "signedBaseLayer"},
        {"type": "signedBy", "keyPath": "/key"},
        {"type": "signedBy", "keyType": "GPGKeys"},
        {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/a", "keyPaths": ["/b"]},
        {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": []},
        {"type": "sigstoreSigned", "keyData": "no base64!"},
        {"type": "sigstoreSigned", "keyPath": "/k", "more": 1},
        {"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "any"}},
        {"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "exactReference"}},
    ],
    ids=repr,
)
def test_demand_that_is_not_understood_refuses(
    wanted: dict[str, object], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(InvalidDocument, match=r"policy\.json"):
        _check(tmp_path, {"default": [wanted]}, "x")


def test_what_cannot_be_verified_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(PolicyRefused, match="fulcio"):
        _check(tmp_path, {"default": [{"type": "sigstoreSigned", "fulcio": {}}]}, "x")


@pytest.mark.parametrize(
    ("transport", "scope", "is_met"),
    [
        ("dir", "/srv/images", True),
        ("dir", "/srv/images/a", True),
        ("dir", "/srv/other", False),
        ("oci", "/srv/images/a:v1", True),
        ("oci", "/srv/images/a:v2", False),
        ("docker-archive", "", True),
        ("docker-archive", "/srv/images", False),
        ("tarball", "", True),
    ],
)
def test_files_have_scopes_of_their_transport(
    transport: str, scope: str, is_met: bool, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"default": REJECT, "transports": {transport: {scope: ACCEPT}}}))

    def check() -> object:
        return check_source_policy(
            transport, "/srv/images/a", "v1", {"HOME": "/none"}, system_path=str(path)
        )

    if is_met:
        assert check() == ()
    else:
        with pytest.raises(PolicyRefused):
            check()


@pytest.mark.parametrize(
    ("identity", "values", "signed", "name", "is_met"),
    [
        ("matchExact", (), "a.io/x:1", "a.io/x:1", True),
        ("matchExact", (), "a.io/x", "a.io/x:latest", False),
        ("matchExact", (), "a.io/x:1", f"a.io/x@{DIGEST}", False),
        ("matchRepoDigestOrExact", (), "a.io/x:1", f"a.io/x@{DIGEST}", True),
        ("matchRepoDigestOrExact", (), "a.io/x:1", "a.io/x:2", False),
        ("matchRepoDigestOrExact", (), "a.io/x", "a.io/x:latest", False),
        ("matchRepository", (), "a.io/x", "a.io/x:2", True),
        ("matchRepository", (), "a.io/y", "a.io/x:2", False),
        ("exactReference", ("b.io/x:1",), "b.io/x:1", "a.io/x:1", True),
        ("exactReference", ("b.io/x:1",), "a.io/x:1", "a.io/x:1", False),
        ("exactRepository", ("b.io/x",), "b.io/x:7", "a.io/x:1", True),
        ("remapIdentity", ("a.io", "b.io/m"), "b.io/m/x:1", "a.io/x:1", True),
        ("remapIdentity", ("a.io", "b.io"), "a.io/x:1", "a.io/x:1", False),
        ("remapIdentity", ("c.io", "b.io"), "a.io/x:1", "a.io/x:1", True),
        ("matchExact", (), "no name!", "a.io/x:1", False),
    ],
)
def test_identity_of_a_signature(
    identity: str, values: tuple[str, ...], signed: str, name: str, is_met: bool
) -> None:
    demand = Demand("signedBy", (), b"", identity, values, "here")
    assert is_identity(demand, signed, parse_reference(name)) is is_met


def test_lookaside_of_the_most_specific_scope(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / ".config/containers/registries.d"
    directory.mkdir(parents=True)
    (directory / "a.yaml").write_text(
        "---\n# all\ndefault-docker:\n    lookaside: 'file:///all'\ndocker:\n"
        "    a.io:5000:\n        lookaside: https://a.example/#x  # why\n"
        '    "a.io:5000/team":\n        use-sigstore-attachments: true\n'
    )
    (directory / "ignored.yml").write_text("[")
    environment = {"HOME": str(tmp_path)}
    found = [
        find_lookaside(parse_reference(name), environment)
        for name in ("a.io:5000/x", "a.io:5000/team/x", "b.io/x")
    ]
    assert [(one.url, one.attachments) for one in found] == [
        ("https://a.example/#x", False),
        ("", True),
        ("file:///all", False),
    ]


@pytest.mark.parametrize(
    "text",
    ["a: [1]", "docker:\n  a.io:\n   - x", "docker: {}", "docker: |\n  x", "other:\n  a: b",
     "docker:\n  a.io:\n    lookasides: x", "docker:\n    a:\n  b:", "\tdocker:", "docker",
     "docker:\n  a.io:\n    lookaside: &x y", "docker:\ndocker:"],
)  # fmt: skip
def test_yaml_that_is_more_than_mappings_is_refused(text: str, tmp_path: pathlib.Path) -> None:
    directory = tmp_path / ".config/containers/registries.d"
    directory.mkdir(parents=True)
    (directory / "a.yaml").write_text(text)
    with pytest.raises(InvalidDocument, match=r"a\.yaml"):
        find_lookaside(parse_reference("a.io/x"), {"HOME": str(tmp_path)})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=":'\"#-{}[]&* \n\tab", max_size=60))
def test_any_yaml_is_read_or_refused(tmp_path: pathlib.Path, text: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(text)
    try:
        read_yaml(str(path))
    except InvalidDocument as error:
        assert "any.yaml" in error.message


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
