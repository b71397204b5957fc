import errno

from rootless.container.start_errors import explain_step
from rootless.errors import CommandNotExecutable
from rootless.sandbox.targets import StepError

NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep


def test_program_with_file_capabilities_names_those_that_are_missing() -> None:
    told = explain_step(
        StepError(f"execute\n100755 {NET_RAW.hex()}\n7f454c46", "ping", errno.EPERM)
    )
    assert isinstance(told, CommandNotExecutable)
    assert "file capabilities" in told.message
    assert "--cap-add=NET_RAW" in str(told.remedy)


def test_program_without_file_capabilities_is_not_accused() -> None:
    told = explain_step(StepError("execute\n100755 \n7f454c46", "prog", errno.EPERM))
    assert "capabilities" not in told.message
