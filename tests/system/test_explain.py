"""`rpod explain` and a real container say the same about a mount."""

import json

import pytest

from tests.support.command import Command

pytestmark = pytest.mark.rpod_only


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("700", ()),
        ("755", ("--user", "1000:1000")),
        ("700", ("--user", "1000:1000")),
        ("777", ("--user", "1000:1000")),
        ("700", ("--user", "1000:1000", "--userns", "keep-id:uid=1000,gid=1000")),
    ],
)
def test_it_says_what_the_container_finds(
    rpod: Command, image: str, account_dir: str, mode: str, options: tuple[str, ...]
) -> None:
    rpod.shell(f"mkdir {account_dir}/data && chmod {mode} {account_dir}/data")
    volume = ("-v", f"{account_dir}/data:/data")
    script = "for l in r w x; do test -$l /data && printf $l; done; true"
    seen = rpod("run", "--rm", *volume, *options, image, "sh", "-c", script).out
    told = json.loads(rpod("explain", *volume, *options, "--format", "json", image).out)[0]
    assert told["may"] == (seen or "nothing")
    assert bool(told["remedies"]) == (seen != "rwx")


def test_it_names_the_directory_that_blocks(rpod: Command, account_dir: str) -> None:
    rpod.shell(f"mkdir -p {account_dir}/shut/data && chmod 600 {account_dir}/shut")
    done = rpod("explain", "-v", f"{account_dir}/shut/data:/data")
    assert f"Blocked at:       {account_dir}/shut: " in done.out
    assert f"chmod u+x {account_dir}/shut\n" in done.out


def test_it_follows_a_link_to_the_directory_that_blocks(rpod: Command, account_dir: str) -> None:
    rpod.shell(f"mkdir -p {account_dir}/shut/data && ln -s shut/data {account_dir}/link")
    rpod.shell(f"chmod 600 {account_dir}/shut")
    done = rpod("explain", "-v", f"{account_dir}/link:/data")
    assert f"Blocked at:       {account_dir}/shut: " in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no mount given"),
        (("-v", "/no/such:/data"), "No such file"),
        (("-v", f"/{'x' * 300}:/data"), "too long"),
        (("-v", "name:/data"), "only a path of the host"),
        (("-v", "/etc:data"), "must be absolute"),
    ],
)
def test_bad_input_is_refused(rpod: Command, arguments: tuple[str, ...], message: str) -> None:
    done = rpod("explain", *arguments, check=False)
    assert done.code == 125, done.told
    assert message in done.err
