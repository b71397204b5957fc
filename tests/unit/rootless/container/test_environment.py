"""The variables of a container's process, and who wins."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.container.environment import add_variables, make_environment
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError


def environment(
    request: ContainerRequest | None = None,
    image_env: tuple[str, ...] = (),
    caller: dict[str, str] | None = None,
) -> dict[str, str]:
    return make_environment(
        request or ContainerRequest(), image_env, caller or {}, home="/home/x", hostname="box"
    )


def added(*env: str, files: tuple[str, ...] = (), caller: dict[str, str] | None = None) -> object:
    result: dict[str, str] = {}
    add_variables(result, env, files, caller or {})
    return result


def test_what_every_container_has() -> None:
    assert environment() == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM": "xterm",
        "container": "podman",
        "HOME": "/home/x",
        "HOSTNAME": "box",
    }


def test_the_image_beats_the_defaults() -> None:
    result = environment(image_env=("PATH=/bin", "HOME=/image", "EMPTY=", "EQUAL=a=b", "BARE"))
    assert result["PATH"] == "/bin"
    assert result["HOME"] == "/image"
    assert (result["EMPTY"], result["EQUAL"], result["BARE"]) == ("", "a=b", "")


def test_the_request_beats_the_image() -> None:
    request = ContainerRequest(env=("PATH=/mine", "HOSTNAME=own"))
    result = environment(request, ("PATH=/bin",))
    assert (result["PATH"], result["HOSTNAME"]) == ("/mine", "own")


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "no_proxy", "ALL_PROXY"])
def test_proxies_of_the_caller_are_passed_on(name: str) -> None:
    caller = {name: "http://proxy", "SECRET": "no"}
    assert environment(caller=caller)[name] == "http://proxy"
    assert "SECRET" not in environment(caller=caller)
    assert name not in environment(ContainerRequest(http_proxy=False), caller=caller)


def test_a_proxy_of_the_image_gives_way_to_the_callers() -> None:
    result = environment(image_env=("http_proxy=image",), caller={"http_proxy": "caller"})
    assert result["http_proxy"] == "caller"


def test_env_host_takes_everything() -> None:
    request = ContainerRequest(env_host=True, env=("B=mine",))
    result = environment(request, ("A=image",), {"A": "caller", "B": "caller"})
    assert (result["A"], result["B"]) == ("caller", "mine")


def test_unsetenv_takes_away_what_was_not_asked_for_here() -> None:
    request = ContainerRequest(unsetenv=("TERM", "A", "ABSENT"), env=("A=again",))
    result = environment(request, ("A=image",))
    assert "TERM" not in result
    assert result["A"] == "again"


def test_names_alone_come_from_the_caller() -> None:
    caller = {"A": "1", "AB": "2", "B": "3"}
    assert added("A", "ABSENT", caller=caller) == {"A": "1"}
    assert added("A*", caller=caller) == {"A": "1", "AB": "2"}
    assert added("*", caller=caller) == caller


@pytest.mark.parametrize("entry", ["", "=x", "A=b\0c", "\0"], ids=repr)
def test_what_names_nothing_is_a_usage_error(entry: str) -> None:
    with pytest.raises(UsageError, match="invalid environment variable"):
        added(entry)


FILE = b"""# a comment
A=1

  B=two words
C="kept quotes"\r
   # not a comment of the first column, yet one
CALLER
\xff=bytes
D=a=b # no comment
"""


def test_an_env_file_is_read_without_unquoting(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_bytes(FILE)
    assert added(files=(str(path),), caller={"CALLER": "yes"}) == {
        "A": "1",
        "B": "two words",
        "C": '"kept quotes"',
        "CALLER": "yes",
        "\udcff": "bytes",
        "D": "a=b # no comment",
    }


def test_env_beats_env_file_and_later_files_earlier_ones(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"A={name}\nB={name}\n")
    files = (f"{tmp_path}/one", f"{tmp_path}/two")
    assert added("B=env", files=files) == {"A": "two", "B": "env"}


@pytest.mark.parametrize("name", ["absent", ""])
def test_an_env_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--env-file"):
        added(files=(f"{tmp_path}/{name}",))


def test_a_broken_line_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("=x\n")
    with pytest.raises(UsageError, match=f"^{tmp_path}/env: "):
        added(files=(f"{tmp_path}/env",))


@given(entries=st.lists(st.text(max_size=12), max_size=6), caller=st.just({"A": "1", "B": "2"}))
def test_any_entries_give_variables_or_a_clear_error(
    entries: list[str], caller: dict[str, str]
) -> None:
    try:
        result = environment(ContainerRequest(env=tuple(entries)), caller=caller)
    except UsageError:
        return
    for name, value in result.items():
        assert name
        assert "=" not in name
        assert "\0" not in name + value
