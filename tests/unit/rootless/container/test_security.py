"""`--security-opt`: what it hides and what it uncovers."""

from pathlib import Path

import pytest

from rootless.container.request import ContainerRequest
from rootless.container.security import masked_and_readonly, parse_security_options
from rootless.errors import UsageError
from rootless.sandbox.defaults import MASKED_PATHS, READONLY_PATHS


def request(*options: str, privileged: bool = False) -> ContainerRequest:
    return ContainerRequest(security_opt=options, privileged=privileged)


def test_the_default_filter_and_no_more() -> None:
    found = parse_security_options(request())
    assert found == ("default", False, (), (), ())


def test_privileged_switches_both_off() -> None:
    found = parse_security_options(request(privileged=True))
    assert (found.seccomp, found.unmask) == ("unconfined", ("ALL",))
    masked, readonly = masked_and_readonly(found, host_network=False)
    assert (masked, readonly) == ([], [])


@pytest.mark.parametrize(
    ("option", "expected"),
    [("no-new-privileges", True), ("no-new-privileges=true", True), ("no-new-privileges:1", True),
     ("no-new-privileges=false", False), ("no-new-privileges:false", False)],
)  # fmt: skip
def test_no_new_privileges_as_typed(option: str, expected: bool) -> None:
    assert parse_security_options(request(option)).no_new_privileges is expected


@pytest.mark.parametrize("option", ["seccomp=unconfined", "seccomp:unconfined"])
def test_seccomp_may_be_switched_off(option: str) -> None:
    assert parse_security_options(request(option)).seccomp == "unconfined"


def test_a_profile_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profile.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    found = parse_security_options(request("seccomp=profile.json"))
    assert found.seccomp == f"{tmp_path}/profile.json"
    with pytest.raises(UsageError, match="absent"):
        parse_security_options(request("seccomp=absent"))


def test_mask_adds_and_unmask_takes_away() -> None:
    found = parse_security_options(request("mask=/a:/b", "unmask=/proc/kcore:/proc/s*"))
    masked, readonly = masked_and_readonly(found, host_network=False)
    assert masked[-2:] == ["/a", "/b"]
    assert "/proc/kcore" not in masked
    assert not {path for path in masked if path.startswith("/proc/s")}
    assert not {path for path in readonly if path.startswith("/proc/s")}
    assert "/proc/keys" in masked
    assert "/proc/bus" in readonly


@pytest.mark.parametrize("option", ["unmask=ALL", "unmask=all", "systempaths=unconfined"])
def test_everything_may_be_uncovered(option: str) -> None:
    found = parse_security_options(request(option, "mask=/a"))
    assert masked_and_readonly(found, host_network=False) == (["/a"], [])


def test_without_wishes_the_defaults_are_hidden() -> None:
    masked, readonly = masked_and_readonly(parse_security_options(request()), host_network=False)
    assert set(MASKED_PATHS) <= set(masked)
    assert readonly == list(READONLY_PATHS)


def test_options_of_proc() -> None:
    found = parse_security_options(request("proc-opts=nosuid,hidepid=2"))
    assert found.proc_options == ("nosuid", "hidepid=2")


@pytest.mark.parametrize(
    "option",
    ["", "bogus", "bogus=1", "systempaths=bogus", "apparmor=mine", "seccomp=", "=x",
     "no-new-privileges=maybe", "no-new-privileges:1x", "no-new-privileges="],
)  # fmt: skip
def test_wrong_options_are_usage_errors(option: str) -> None:
    with pytest.raises(UsageError):
        parse_security_options(request(option))


@pytest.mark.parametrize("option", ["label=disable", "apparmor=unconfined", "label:disable"])
def test_what_is_met_already_is_taken(option: str) -> None:
    assert parse_security_options(request(option)) == parse_security_options(request())
