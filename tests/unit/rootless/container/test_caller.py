"""What a dev shell takes over of its caller."""

import os

import pytest

from rootless.container import caller, personal
from rootless.container.merged import Accounts
from rootless.container.users import User


@pytest.mark.parametrize(
    "name",
    ["LANG", "SSH_AUTH_SOCK", "DISPLAY", "http_proxy", "SLURM_JOB_ID", "PMI_FD", "PMIX_RANK",
     "OMP_NUM_THREADS", "MY_OWN"],
)  # fmt: skip
def test_variables_of_the_person_and_the_job_pass(name: str) -> None:
    assert personal.is_passed(name)


@pytest.mark.parametrize(
    "name", ["PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "MODULEPATH", "BASH_ENV", "PWD"]
)
def test_variables_of_the_hosts_software_do_not(name: str) -> None:
    assert not personal.is_passed(name)


def test_the_images_variables_go_first_but_for_personal_ones() -> None:
    result = {"PATH": "/image", "JAVA_HOME": "/image", "LANG": "C.UTF-8", "HOME": "/root"}
    mine = {"PATH": "/mine", "JAVA_HOME": "/mine", "LANG": "de_DE.UTF-8", "HOME": "/h", "X": "1"}
    personal.add_variables(result, mine, "/h")
    assert result == {
        "PATH": "/image", "JAVA_HOME": "/image", "LANG": "de_DE.UTF-8", "HOME": "/h", "X": "1"
    }  # fmt: skip


def test_places_that_are_there_are_shown(tmp_path: object) -> None:
    here = str(tmp_path)
    found = caller.places(
        {"TMPDIR": here, "SSH_AUTH_SOCK": f"{here}/absent", "KRB5CCNAME": f"FILE:{here}",
         "DBUS_SESSION_BUS_ADDRESS": f"unix:path={here},guid=1"}
    )  # fmt: skip
    assert found == [here, here, here]


def test_the_images_line_for_the_same_id_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)  # nobody: the number is the name
    image = Accounts(
        b"root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1::/home/ubuntu:/bin/sh",
        b"root:x:0:\nubuntu:x:77:\n",
    )
    files = caller.account_files(User(1000, 77, (), "ubuntu", "/home/me"), image, "/home/me")
    first, last = files["passwd"].decode().splitlines()
    assert first == "root:x:0:0::/root:/bin/sh"
    assert last.split(":")[0] == "4000000"
    assert last.split(":")[2:4] == ["1000", "77"]
    assert last.split(":")[5] == "/home/me"
    assert "ubuntu" not in last
    assert files["group"].decode().splitlines()[-1].endswith(":x:77:")
