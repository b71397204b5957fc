"""What a user is told about a container that ends with the session."""

from pathlib import Path

from rootless.host.session import session_note


def note(tmp_path: Path, group: str, *, linger: bool = False, **environ: str) -> str:
    root = tmp_path / "root"
    (root / "run/systemd/system").mkdir(parents=True)
    (root / "var/lib/systemd/linger").mkdir(parents=True)
    if linger:
        (root / "var/lib/systemd/linger/me").touch()
    (tmp_path / "cgroup").write_text(f"0::{group}\n")
    return session_note(4242, "me", environ, root=str(root), proc=str(tmp_path))


def test_session_without_linger(tmp_path: Path) -> None:
    text = note(tmp_path, "/user.slice/user-4242.slice/session-1.scope")
    assert "loginctl enable-linger me" in text
    assert "session" in text


def test_service(tmp_path: Path) -> None:
    assert "ends with ci.service" in note(tmp_path, "/system.slice/ci.service", linger=True)


def test_lingering_and_cron(tmp_path: Path) -> None:
    assert note(tmp_path, "/system.slice/cron.service", linger=True) == ""


def test_batch_job(tmp_path: Path) -> None:
    assert "slurm job 7" in note(tmp_path, "/x", SLURM_JOB_ID="7")


def test_no_systemd(tmp_path: Path) -> None:
    assert session_note(4242, "me", {}, root=str(tmp_path), proc=str(tmp_path)) == ""
