"""Callers that leave little or something odd behind: streams, signals, directories, names."""

import pytest

from tests.support.command import Command

CLOSED = {"input": "<&-", "output": ">&-", "errors": "2>&-", "all": "<&- >&- 2>&-"}


@pytest.mark.rpod_only
@pytest.mark.parametrize("closing", CLOSED.values(), ids=CLOSED.keys())
def test_closed_streams(rpod: Command, image: str, closing: str) -> None:
    done = rpod.shell(
        f"$RPOD run --rm {image} sh -c 'echo x; echo y >&2; exit 5' {closing}", check=False
    )
    assert done.code == 5, done.told


@pytest.mark.rpod_only
def test_full_output_is_told_and_ends_the_writer(rpod: Command, image: str) -> None:
    done = rpod.shell(f"$RPOD run --rm --name writer {image} yes >/dev/full", check=False)
    assert done.code != 0
    assert "write to standard output: No space left on device" in done.err
    assert rpod("ps", "-aq").out == ""


@pytest.mark.rpod_only
def test_full_output_keeps_the_status(rpod: Command, image: str) -> None:
    done = rpod.shell(f"$RPOD run --rm {image} sh -c 'echo x; exit 4' >/dev/full", check=False)
    assert done.code == 4, done.told


def test_caller_that_ignores_the_end_of_children(rpod: Command, image: str) -> None:
    script = f"trap '' CHLD; $RPOD run --rm {image} sh -c 'true; exit 4'"
    done = rpod.shell(script, check=False)
    assert (done.code, done.err) == (4, ""), done.told


@pytest.mark.rpod_only
def test_directory_that_was_removed(rpod: Command, image: str, account_dir: str) -> None:
    gone = f"mkdir {account_dir}/gone; cd {account_dir}/gone; rmdir {account_dir}/gone;"
    assert rpod.shell(f"{gone} $RPOD run --rm {image} pwd").out == "/\n"
    done = rpod.shell(f"{gone} $RPOD run --rm -v ./etc:/x {image} ls /x", check=False)
    assert (done.code, done.out) == (125, ""), done.told
    assert "the current directory has been removed" in done.err


@pytest.mark.rpod_only
@pytest.mark.parametrize("name", ["a\nb", "a b", "x" * 65, "a\x1b[31m"])
def test_hostname_that_breaks_files_is_refused(rpod: Command, image: str, name: str) -> None:
    done = rpod("run", "--rm", "--hostname", name, image, "true", check=False)
    assert done.code == 125, done.told
    assert "--hostname" in done.err


@pytest.mark.parametrize("command", ["inspect", "rm", "logs", "stop"])
def test_endless_name_is_not_found(rpod: Command, command: str) -> None:
    done = rpod(command, "n" * 3000, check=False)
    assert done.code == (1 if command == "rm" else 125), done.told
    assert "no such" in done.err


ODD = {
    "label": ("--label", "a=\udcff"),
    "variable": ("--env", "A=\udcff"),
    "host": ("--add-host", "a\udcff:10.0.0.1"),
}


@pytest.mark.rpod_only
@pytest.mark.parametrize("options", ODD.values(), ids=ODD.keys())
def test_bytes_that_are_no_text(rpod: Command, image: str, options: tuple[str, str]) -> None:
    done = rpod("run", "--name", "odd", *options, image, "true", check=False)
    assert "internal error" not in done.err, done.told
    assert done.code in (0, 125), done.told
    rpod("ps", "-a")
    rpod("ps", "-a", "--format", "json")


def test_unknown_state_is_refused(rpod: Command) -> None:
    done = rpod("ps", "--filter", "status=bogus", check=False)
    assert (done.code, done.out) == (125, ""), done.told
    assert "unknown container state" in done.err
