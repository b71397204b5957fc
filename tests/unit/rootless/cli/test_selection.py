"""Commands on several names go on after a failure; rm-like ones have podman's exit codes."""

from collections.abc import Sequence

import pytest

from rootless.cli.commands.selection import exit_code, for_each, removal_exit_code
from rootless.errors import ContainerStateError, RootlessError
from storage.errors import ContainerNotFound, InUse

MISSING, USED = ContainerNotFound("no such"), InUse("used")
OTHER, STATE = RootlessError("other"), ContainerStateError("running")


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([], 0),
        ([MISSING], 1),
        ([MISSING, MISSING], 1),
        ([USED], 2),
        ([STATE], 2),
        ([MISSING, USED], 2),
        ([OTHER], 125),
        ([USED, OTHER], 125),
    ],
)
def test_removal_exit_code_is_podmans(errors: Sequence[Exception], code: int) -> None:
    assert removal_exit_code(errors) == code


def test_exit_code_of_a_failure_is_125() -> None:
    assert exit_code([MISSING]) == 125
    assert exit_code([]) == 0


def test_for_each_goes_on_after_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    done = []

    def action(name: str) -> None:
        if name == "bad":
            raise MISSING
        done.append(name)

    assert for_each(["a", "bad", "b"], action) == [MISSING]
    assert done == ["a", "b"]
    assert capsys.readouterr().err == "Error: no such\n"


def test_for_each_lets_defects_through() -> None:
    def action(name: str) -> None:
        raise ValueError(name)

    with pytest.raises(ValueError, match="a"):
        for_each(["a"], action)
