"""rpod.toml of a project: what it may say, and whose it has to be."""

import os
from pathlib import Path

import pytest

from rootless.container.project import Project, find_project, image_name, read_project
from rootless.errors import UsageError


def read(tmp_path: Path, text: str, *, trusted: bool = False) -> Project:
    path = tmp_path / "rpod.toml"
    path.write_text(text)
    os.chmod(tmp_path, 0o755)
    os.chmod(path, 0o644)
    return read_project(str(path), os.getuid(), os.getgid(), trusted=trusted)


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "Containerfile").touch()
    project = read(
        tmp_path,
        """
        containerfile = "Containerfile"
        target = "dev"
        command = ["make", "-j4"]
        mounts = ["./data:/data:ro", "cache:/cache"]
        ports = ["8080:80"]
        devices = ["vendor.com/gpu=0"]
        workdir = "/data"
        keep = "name"
        as-root = true
        env = { A = "b" }
        build-args = { V = "1" }
        """,
    )
    assert project == Project(
        directory=str(tmp_path),
        containerfile=f"{tmp_path}/Containerfile",
        context=str(tmp_path),
        target="dev",
        build_args={"V": "1"},
        command=("make", "-j4"),
        mounts=(f"{tmp_path}/data:/data:ro", "cache:/cache"),
        env={"A": "b"},
        ports=("8080:80",),
        devices=("vendor.com/gpu=0",),
        workdir="/data",
        keep="name",
        as_root=True,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image = 3", "rpod.toml: image: must be a string, not 3"),
        ('image = ""', "image: must be a string"),
        ('imag = "x"', "rpod.toml: unknown key 'imag'"),
        ('image = "x', "rpod.toml: "),
        ("", "one of image and containerfile is needed"),
        ('image = "x"\ncontainerfile = "y"', "one of image and containerfile is needed"),
        ('image = "x"\ntarget = "y"', "target: it belongs to containerfile"),
        ('image = "x"\nmounts = "a:/b"', "mounts: must be a list of strings"),
        ('image = "x"\nmounts = ["a:b"]', "mounts: 'a:b'"),
        ('image = "x"\nmounts = ["./absent:/b"]', "mounts: ./absent: No such file"),
        ('image = "x"\nenv = { A = 1 }', "env: must be a table of strings"),
        ('image = "x"\nas-root = "yes"', "as-root: must be true or false"),
        ('image = "x\\u0000"', "image: has a NUL in it"),
        ("image = " + "[" * 2000, "rpod.toml"),
        ("#" * (2 << 20), "more than 1 MiB"),
        ('image = "UP PER"', "rpod.toml: image: 'UP PER'"),
        ('image = "x"\nports = ["80:80:80:80"]', "rpod.toml: ports: 80:80:80:80: too many colons"),
        ('image = "x"\nports = ["70000:80"]', "rpod.toml: ports: 70000:80: host port"),
        ('image = "x"\nenv = { "A=B" = "c" }', "rpod.toml: env: 'A=B' is no name of a variable"),
        ('image = "x"\nmounts = ["/tmp:/b:wrong"]', 'mounts: invalid mount "/tmp:/b:wrong"'),
        ('image = "x"\nmounts = ["UP/x:/b"]', 'mounts: "UP/x" is not a name for a volume'),
        ('image = "x"\nmounts = ["/tmp:/b", "c:/b"]', "mounts: two of them are at /b"),
        ('image = "x"\ndevices = ["/dev/none"]', "rpod.toml: devices: /dev/none"),
        ('image = "x"\nkeep = "a/b"', 'rpod.toml: keep: invalid name "a/b"'),
        ('image = "x"\nworkdir = "rel"', "rpod.toml: workdir: 'rel' is not an absolute path"),
        ('image = "x"\ncommand = [""]', "rpod.toml: command: its first word is empty"),
        ('containerfile = "none"', "rpod.toml: containerfile: there is no file"),
        ('containerfile = "rpod.toml"\ncontext = "none"', "context: there is no directory"),
    ],
)
def test_a_wrong_file_is_one_line_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert said in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_everybody_may_write_is_not_used(tmp_path: Path, what: str) -> None:
    read(tmp_path, 'image = "x"')
    path = tmp_path / "rpod.toml"
    os.chmod(path if what == "file" else tmp_path, 0o777)
    with pytest.raises(UsageError, match="is not used: everybody may write"):
        read_project(str(path), os.getuid(), os.getgid())
    assert read_project(str(path), os.getuid(), os.getgid(), trusted=True).image == "x"


def test_somebody_elses_file_is_not_used(tmp_path: Path) -> None:
    read(tmp_path, 'image = "x"')
    with pytest.raises(UsageError, match=r"is not used: .* belongs to"):
        read_project(str(tmp_path / "rpod.toml"), os.getuid() + 1, os.getgid())


def test_a_fifo_or_a_device_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rpod.toml")
    with pytest.raises(UsageError, match="not a regular file"):
        read_project(str(tmp_path / "rpod.toml"), os.getuid(), os.getgid())


def test_the_nearest_file_counts_but_not_the_settings(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "rpod.toml").touch()
    (tmp_path / "a" / "rpod.toml").touch()
    assert find_project(str(deep)) == f"{tmp_path}/a/rpod.toml"
    settings = (f"{tmp_path}/a/rpod.toml",)
    assert find_project(str(deep), settings) == f"{tmp_path}/rpod.toml"


def test_two_projects_of_one_name_have_two_images() -> None:
    assert image_name("/a/My Thing") != image_name("/b/My Thing")
    assert image_name("/a/My Thing").startswith("localhost/shell-mything:")
