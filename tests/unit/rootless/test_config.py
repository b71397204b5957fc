"""rpod.toml and RPOD_* variables."""

from pathlib import Path

import pytest

from rootless.config import Config, load_config
from rootless.errors import UsageError


def load(tmp_path: Path, text: str, **variables: str) -> Config:
    file = tmp_path / "rpod.toml"
    file.write_text(text)
    return load_config({"RPOD_CONFIG": str(file), **variables})


def test_without_files_defaults_hold(tmp_path: Path) -> None:
    assert load_config({"HOME": str(tmp_path)}, site=str(tmp_path / "none")) == Config()


def test_user_file_wins_over_the_sites(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('pull = "never"\nnetwork = "none"\n')
    user = tmp_path / ".config" / "rpod" / "rpod.toml"
    user.parent.mkdir(parents=True)
    user.write_text('network = "host"\n')
    config = load_config({"HOME": str(tmp_path)}, site=str(site))
    assert (config.pull, config.network) == ("never", "host")
    assert config.sources == (str(site), str(user))


def test_environment_wins_over_files(tmp_path: Path) -> None:
    assert load(tmp_path, 'network = "host"', RPOD_NETWORK="none").network == "none"


def test_values_are_read(tmp_path: Path) -> None:
    config = load(tmp_path, 'root = "/srv/x/../rpod"\nstop-timeout = 3\ndetach_keys = "ctrl-x"\n')
    assert (config.root, config.stop_timeout, config.detach_keys) == ("/srv/rpod", 3, "ctrl-x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("colour = 1", "unknown key 'colour'"),
        ("root = 1", "must be a string, not int"),
        ('root = "relative"', "must be an absolute path"),
        ('pull = "perhaps"', "'perhaps' is none of missing, always, never, newer"),
        ('storage_driver = "vfs"', "is none of overlay, fuse-overlayfs, copy"),
        ("stop_timeout = true", "must be a number of seconds"),
        ("stop_timeout = -1", "must be a number of seconds"),
        ("stop_timeout = [", "read configuration"),
        ('max_layer_size = "5x"', "must be a positive number"),
        ("max_layer_files = 0", "must be a positive number"),
        ("additional_stores = [1]", "must be a list of directories"),
        ('additional_stores = ["a"]', "must be an absolute path"),
    ],
)
def test_wrong_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert reason in caught.value.message
    assert str(tmp_path / "rpod.toml") in caught.value.message


def test_wrong_variable_is_named() -> None:
    with pytest.raises(UsageError, match="RPOD_STOP_TIMEOUT: must be a number"):
        load_config({"RPOD_STOP_TIMEOUT": "soon"}, site="/nonexistent")


def test_named_file_must_exist() -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_config({"RPOD_CONFIG": "/nonexistent/rpod.toml"})


def test_manual_page_names_every_key() -> None:
    page = Path(__file__).parents[3] / "contrib" / "man" / "rpod.toml.5.md"
    keys = [line.strip("*") for line in page.read_text().splitlines() if line.startswith("**")]
    assert keys == [key for key in Config._fields if key != "sources"]
