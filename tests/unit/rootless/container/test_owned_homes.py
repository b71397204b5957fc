"""Which images have a service whose data is its own."""

import os
from pathlib import Path

import pytest

from rootless.container.merged import Accounts
from rootless.container.owned_homes import has_owned_home, names_package_manager
from storage import owners


def layer(top: Path, name: str, homes: dict[str, int]) -> str:
    directory = top / name
    directory.mkdir()
    for home, uid in homes.items():
        (directory / home).mkdir(parents=True)
        if not owners.record(str(directory / home), owners.Owner(uid, uid), 0o755):
            pytest.skip("needs attributes of users")
    return str(directory)


def accounts(home: str, uid: int = 70) -> Accounts:
    return Accounts(f"root:x:0:0::/root:/bin/sh\ndb:x:{uid}:70::{home}:\n".encode(), b"")


@pytest.mark.parametrize(
    ("home", "expected"),
    [
        ("/var/lib/db", True),
        ("/var/lib/db/", True),
        ("/var/lib/other", False),  # somebody else's
        ("/var/none", False),
        ("/home/db", False),
        ("/usr/db", False),
        ("/", False),
        ("/..", False),
        ("/var/../var/lib/db", False),
        ("/link/lib/db", False),
        ("", False),
        ("var/lib/db", False),
        ("/var/lib/d\0b", False),
    ],
)
def test_an_account_that_owns_its_home_is_a_service(
    tmp_path: Path, home: str, *, expected: bool
) -> None:
    places = {"var/lib/db": 70, "var/lib/other": 5, "home/db": 70, "usr/db": 70}
    lower = layer(tmp_path, "lower", places)
    os.symlink("var", f"{lower}/link")
    above = layer(tmp_path, "above", {"var/log/x": 3})
    assert has_owned_home([above, lower], accounts(home)) is expected


def test_the_highest_layer_counts(tmp_path: Path) -> None:
    lower = layer(tmp_path, "lower", {"var/lib/db": 70})
    above = layer(tmp_path, "above", {"var/lib/db": 0})
    assert not has_owned_home([above, lower], accounts("/var/lib/db"))


def test_root_is_no_service(tmp_path: Path) -> None:
    only = layer(tmp_path, "only", {"var/lib/db": 0})
    assert not has_owned_home([only], accounts("/var/lib/db", uid=0))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("apt-get", "install", "x"), True),
        (("/usr/bin/dnf", "-y", "install", "x"), True),
        (("sh", "-c", "cd /;apk add x"), True),
        (("sh", "-c", "ls; rpm -i x"), True),
        (("echo", "aptitudes"), False),
        ((), False),
    ],
)
def test_a_package_manager_is_named(command: tuple[str, ...], *, expected: bool) -> None:
    assert names_package_manager(command) is expected
