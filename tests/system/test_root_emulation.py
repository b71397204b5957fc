"""Root emulation: one id, and programs that change owners and users all the same."""

import json
import os
import secrets
import tarfile
from collections.abc import Iterator

import pytest

from tests.support.accounts import Account
from tests.support.command import Command
from tests.system.conftest import check_nothing_left, clean, make_command, traces

pytestmark = pytest.mark.rpod_only


@pytest.fixture
def single(account_without_ids: Account, busybox_tar: str) -> Iterator[tuple[Command, str]]:
    """The command of an account with one id, and an image of its store."""
    command = make_command(account_without_ids, account_without_ids.environment())
    before = traces(account_without_ids)
    image = command("import", busybox_tar, "localhost/emulated").lines[-1].removeprefix("sha256:")
    yield command, image
    clean(command)
    command("rmi", "--force", "--all")
    check_nothing_left(command, before)


def run(single: tuple[Command, str], script: str, *options: str, check: bool = True) -> list[str]:
    rpod, image = single
    return rpod(
        "run", "--rm", "--network=none", *options, image, "sh", "-c", script, check=check
    ).lines


def test_chown_succeeds_and_su_changes_the_user(single: tuple[Command, str]) -> None:
    lines = run(single, "touch /f && chown 33:44 /f && echo changed; su alice -c 'id -u; id -g'")
    assert lines == ["changed", "1000", "1000"]


def test_full_shows_what_was_changed(single: tuple[Command, str]) -> None:
    script = """
        touch /f; chown 33:44 /f; mkdir /d; chown 5:6 /d; ln -s f /l; chown -h 7:8 /l
        stat -c '%u:%g' /f /d /l /home/alice; mv /f /g; stat -c '%u:%g' /g
        cp -p /g /h; stat -c '%u:%g' /h; ln /g /i; stat -c '%u:%g' /i
        chown 0:0 /g; stat -c '%u:%g' /i
    """
    assert run(single, script, "--root-emulation=full") == [
        "33:44", "5:6", "7:8", "1000:1000", "33:44", "33:44", "33:44", "0:0",
    ]  # fmt: skip


def test_auto_is_full_for_a_service_and_for_what_installs_one(
    single: tuple[Command, str],
) -> None:
    """PostgreSQL compares the owner of its data with whom it runs as."""
    rpod, image = single
    recipe = f"""FROM {image}
RUN echo db:x:70:70::/var/lib/db: >>/etc/passwd && mkdir -p /var/lib/db && chown 70:70 /var/lib/db
RUN touch /srv/other && chown 5:6 /srv/other
"""
    rpod("build", "-q", "-t", "localhost/service", "-f", "-", "/etc/ssl", input=recipe.encode())
    rpod("image", "squash", "localhost/service", f"{rpod.account.home}/service.sqfs")
    script = "stat -c %u:%g /var/lib/db /srv/other"
    for name in ("localhost/service", f"{rpod.account.home}/service.sqfs"):
        done = rpod("run", "--rm", "--network=none", name, "sh", "-c", script)
        assert done.lines == ["70:70", "5:6"]
    os.unlink(f"{rpod.account.home}/service.sqfs")
    off = rpod("run", "--rm", "--network=none", "--root-emulation=off", "localhost/service", "sh",
               "-c", script)  # fmt: skip
    assert off.lines == ["0:0", "0:0"]
    change = "touch /f; chown 5:6 /f; stat -c %u:%g /f"
    assert run(single, change) == ["0:0"]  # nothing here looks at owners, so nothing costs
    assert run(single, f"{change} || apt-get install x") == ["5:6"]


def test_full_gives_new_files_to_who_makes_them(single: tuple[Command, str]) -> None:
    script = """
        su alice -c 'echo a > /tmp/a; mkdir /tmp/b; ln -s x /tmp/c; mktemp /tmp/eXXXXXX >/dev/null'
        stat -c '%u:%g %F' /tmp/a /tmp/b /tmp/c /tmp/e*; cat /tmp/a
    """
    assert run(single, script, "--root-emulation=full") == [
        "1000:1000 regular file", "1000:1000 directory", "1000:1000 symbolic link",
        "1000:1000 regular empty file", "a",
    ]  # fmt: skip


def test_who_has_given_up_root_does_not_get_it_back(single: tuple[Command, str]) -> None:
    script = "touch /f; su alice -c 'chown 5:5 /f; su root -c id'; echo end"
    lines = run(single, script, "--root-emulation=full", check=False)
    assert lines == ["end"]


def test_device_is_made_and_read_back(single: tuple[Command, str]) -> None:
    assert run(single, "mknod /d c 1 3; stat -c '%F %t:%T' /d", "--root-emulation=full") == [
        "character special file 1:3"
    ]


def test_a_process_of_exec_has_the_user_that_is_asked_for(single: tuple[Command, str]) -> None:
    rpod, image = single
    rpod("run", "-d", "--name", "c", "--network=none", image, "sleep", "100")
    assert rpod("exec", "-u", "alice", "c", "id", "-u").lines == ["1000"]
    assert rpod("exec", "-u", "33:44", "c", "sh", "-c", "id -u; id -g").lines == ["33", "44"]
    assert rpod("exec", "c", "id", "-u").lines == ["0"]
    rpod("rm", "-f", "-t", "0", "c")


def test_container_with_an_init_is_emulated(single: tuple[Command, str]) -> None:
    rpod, image = single
    changing = "touch /f && chown 33:44 /f && stat -c '%u:%g' /f"
    rpod("run", "-d", "--init", "--root-emulation=full", "--name", "c", image, "sleep", "100")
    assert rpod("exec", "c", "sh", "-c", changing).out == "33:44\n"
    assert run(single, changing, "--init", "--root-emulation=full") == ["33:44"]
    rpod("rm", "-f", "-t", "0", "c")


def test_off_leaves_the_kernel_alone(single: tuple[Command, str]) -> None:
    rpod, image = single
    done = rpod("run", "--rm", "--network=none", "--root-emulation=off", image,
                "chown", "33", "/etc/passwd", check=False)  # fmt: skip
    assert done.code == 1
    assert "Invalid argument" in done.err


def test_bpf_says_yes_and_changes_nothing(single: tuple[Command, str]) -> None:
    script = "touch /f; chown 33 /f && stat -c %u /f; cat $APT_CONFIG"
    assert run(single, script, "--root-emulation=bpf") == ["0", 'APT::Sandbox::User "root";']


def test_unknown_mode_is_refused(single: tuple[Command, str]) -> None:
    rpod, image = single
    assert rpod("run", "--root-emulation=x", image, "true", check=False).code == 125


def test_committed_layer_has_the_owners(single: tuple[Command, str]) -> None:
    rpod, image = single
    script = """
        touch /f /s /d; chown 33:44 /f; chown 0:29 /s; chmod 2755 /s; chmod 700 /home/alice
        mknod /dev-null c 1 3; ln -s f /l; chown -h 7:8 /l
    """
    rpod("run", "--name", "c", "--network=none", image, "sh", "-c", script)
    rpod("commit", "c", "localhost/committed")
    expected = {
        "f": (33, 44, 0o644), "s": (0, 29, 0o2755), "d": (0, 0, 0o644), "l": (7, 8, 0o777),
        "home/alice": (1000, 1000, 0o700), "dev-null": (0, 0, 0o644), "home": (0, 0, 0o755),
    }  # fmt: skip
    found = owners_of(rpod, "localhost/committed")
    assert {name: found.get(name) for name in expected} == expected
    # A later run of the committed image knows them, too.
    again = rpod("run", "--rm", "--network=none", "--root-emulation=full", "localhost/committed",
                 "stat", "-c", "%u:%g", "/f", "/s")  # fmt: skip
    assert again.lines == ["33:44", "0:29"]


def test_layer_of_another_user_keeps_the_image_roots(single: tuple[Command, str]) -> None:
    rpod, image = single
    script = "touch /tmp/mine; chmod 700 /home; :"
    rpod("run", "--name", "c", "--network=none", "--user", "33:44", image, "sh", "-c", script)
    rpod("commit", "c", "localhost/committed")
    found = owners_of(rpod, "localhost/committed")
    assert found["tmp/mine"][:2] == (33, 44)
    assert found["home"] == (0, 0, 0o700)


def test_built_layer_has_the_owners(single: tuple[Command, str]) -> None:
    rpod, image = single
    text = f"FROM {image}\nRUN touch /f && chown 33:44 /f && su alice -c 'id -u'\n"
    told = rpod("build", "--network=none", "-t", "localhost/built", "-", input=text.encode())
    assert "1000" in told.lines + told.err.splitlines()
    assert owners_of(rpod, "localhost/built")["f"] == (33, 44, 0o644)


def test_steps_of_a_build_see_the_owners_they_give(single: tuple[Command, str]) -> None:
    """Who installs a database asks stat what chown has done; `run` has that on request."""
    rpod, image = single
    told = {}
    for mode in ("", "--root-emulation=auto", "--root-emulation=bpf"):
        text = f"FROM {image}\nRUN touch /g && chown 33:44 /g; stat -c seen=%u:%g /g\n"
        options = ("--no-cache", "--network=none", *filter(None, [mode]))
        done = rpod("build", *options, "-", input=text.encode())
        told[mode] = [line for line in done.lines if line.startswith("seen=")]
    assert list(told.values()) == [["seen=33:44"], ["seen=33:44"], ["seen=0:0"]]


def owners_of(rpod: Command, image: str) -> dict[str, tuple[int, int, int]]:
    """Return owner and mode of what the top layer of an image has."""
    directory = f"{rpod.account.home}/saved-{secrets.token_hex(4)}"
    rpod("save", "--format=oci-dir", "-o", directory, image)
    blobs = f"{directory}/blobs/sha256"
    index = read_json(f"{directory}/index.json")
    manifest = read_json(f"{blobs}/{index['manifests'][0]['digest'][7:]}")
    with tarfile.open(f"{blobs}/{manifest['layers'][-1]['digest'][7:]}") as layer:
        return {
            os.path.normpath(entry.name): (entry.uid, entry.gid, entry.mode & 0o7777)
            for entry in layer
        }


def read_json(path: str) -> dict[str, list[dict[str, str]]]:
    with open(path, encoding="utf-8") as file:
        document: dict[str, list[dict[str, str]]] = json.load(file)
    return document
