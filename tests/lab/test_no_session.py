"""An account that has no session, no manager and no subordinate ids: what runs, what is refused."""

import os

from tests.support.command import Command


def test_run_works_without_a_session(one_id_rpod: Command, image: str) -> None:
    assert not os.path.exists(f"/run/user/{os.getuid()}/systemd/private")
    done = one_id_rpod("run", "--rm", image, "sh", "-c", "id -u; exit 3", check=False)
    assert (done.out, done.code) == ("0\n", 3), done.told


def test_limit_without_a_session_is_refused(one_id_rpod: Command, image: str) -> None:
    for option, controller in (("--memory=64m", "memory"), ("--cpus=0.5", "cpu")):
        done = one_id_rpod("run", "--rm", option, image, "true", check=False)
        assert done.code == 125, done.told
        assert controller in done.err, done.told
        assert len(done.err.splitlines()) <= 3, done.told
    assert one_id_rpod("ps", "-aq").out == ""


def test_best_effort_without_a_session_says_what_it_did(one_id_rpod: Command, image: str) -> None:
    limit = ("run", "--rm", "--memory=64m", "--limits=best-effort", image)
    done = one_id_rpod(*limit, "sh", "-c", "ulimit -d")
    assert done.out == "65536\n", done.told
    assert "RLIMIT_DATA" in done.err
