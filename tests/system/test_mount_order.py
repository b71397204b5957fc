"""Mounts that lie on each other, and what is made for a container beside what its user mounts."""

import os

import pytest

from tests.support.command import Command


@pytest.mark.parametrize("mode", ["rw", "ro"])
def test_a_volume_on_etc_does_not_hide_the_name_servers(
    rpod: Command, image: str, account_dir: str, mode: str
) -> None:
    script = "test -s /etc/resolv.conf && grep -c localhost /etc/hosts && cat /etc/mine"
    with open(f"{account_dir}/mine", "w", encoding="ascii") as out:
        out.write("of the user\n")
    os.chmod(f"{account_dir}/mine", 0o644)
    done = rpod("run", "--rm", "-v", f"{account_dir}:/etc:{mode}", image, "sh", "-c", script)
    assert done.lines[-1] == "of the user"
    script = "touch /etc/x 2>/dev/null && echo writable"
    done = rpod(
        "run", "--rm", "-v", f"{account_dir}:/etc:{mode}", image, "sh", "-c", script, check=False
    )
    assert (done.out == "writable\n") is (mode == "rw")


@pytest.mark.parametrize("order", [1, -1], ids=["outer-first", "inner-first"])
def test_a_mount_inside_a_read_only_one_finds_its_place(
    rpod: Command, image: str, account_dir: str, order: int
) -> None:
    options = [f"-v={account_dir}:/outer:ro", "-v=inner:/outer/deep/inner"][::order]
    script = "echo x >/outer/deep/inner/file && cat /outer/deep/inner/file; touch /outer/no"
    done = rpod("run", "--rm", *options, image, "sh", "-c", script, check=False)
    assert (done.code, done.out) == (1, "x\n"), done.told
    assert "Read-only file system" in done.err


def test_a_read_only_container_cannot_write_its_name_servers(rpod: Command, image: str) -> None:
    script = "for f in hosts resolv.conf hostname; do echo x 2>/dev/null >>/etc/$f && echo $f; done"
    done = rpod("run", "--rm", "--read-only", image, "sh", "-c", script, check=False)
    assert done.out == ""


def test_a_read_only_container_has_room_for_every_user(rpod: Command, image: str) -> None:
    script = "touch /run/x /tmp/x /var/tmp/x && stat -c %a /run /tmp /var/tmp"
    done = rpod("run", "--rm", "--read-only", "--user", "alice", image, "sh", "-c", script)
    assert done.lines == ["1777", "1777", "1777"]


def test_a_tmpfs_over_a_directory_of_the_image_keeps_mode_and_owner(
    rpod: Command, image: str
) -> None:
    script = "stat -c '%a %u %g' /home/alice; cat /home/alice/notes"
    options = ("--mount", "type=tmpfs,dst=/home/alice,tmpfs-mode=700")
    done = rpod("run", "--rm", *options, image, "sh", "-c", script)
    assert done.lines == ["700 0 0", "of alice"]


@pytest.mark.parametrize("options", [("nosuid", "hidepid=2"), ("nodev",)], ids=",".join)
def test_options_of_proc_are_taken(rpod: Command, image: str, options: tuple[str, ...]) -> None:
    wanted = f"proc-opts={','.join(options)}"
    done = rpod("run", "--rm", "--security-opt", wanted, image, "grep", " /proc ", "/proc/mounts")
    found = done.out.split()[3].split(",")
    given = {word.partition("=")[0] for word in found} - {"rw", "relatime"}
    assert given == {word.partition("=")[0] for word in options}


@pytest.mark.rpod_only  # crun makes a file where a directory is in the way; the others say so
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-v", "/etc/passwd:/bin"), "mount a file over a directory"),
        (("-v", "/etc:/etc/passwd"), "mount a directory over a file"),
        (("-v", "/etc:/etc/passwd/below"), "Not a directory"),
        (("--tmpfs", "/etc/passwd"), "mount a directory over a file"),
        (("--device", "/dev/null:/bin"), "mount a file over a directory"),
        (("--device", "/dev/absent"), "/dev/absent"),
        (("-v", "/etc:/" + "n" * 300), "File name too long"),
    ],
    ids=["file-dir", "dir-file", "below-a-file", "tmpfs-file", "device-dir", "no-device", "long"],
)
def test_what_cannot_be_mounted_is_one_clear_line(
    rpod: Command, image: str, options: tuple[str, ...], words: str
) -> None:
    done = rpod("run", "--rm", *options, image, "true", check=False)
    assert done.code == 125, done.told
    assert words in done.err, done.told
    assert len(done.err.splitlines()) <= 2, done.told
