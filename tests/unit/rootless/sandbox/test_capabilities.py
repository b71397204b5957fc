from collections.abc import Sequence
from pathlib import Path

import pytest

from rootless.errors import UsageError
from rootless.sandbox import capabilities

LAST = 40


def test_default_is_podmans_measured_mask() -> None:
    assert capabilities.to_mask(capabilities.DEFAULT) == 0x800405FB


def test_numbers_are_the_kernels() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("linux/capability.h is missing: install linux-libc-dev")
    seen = {}
    for line in header.read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[:1] == ["#define"] and words[2].isdigit():
            seen[words[1]] = int(words[2])
    seen = {name: number for name, number in seen.items() if name.startswith("CAP_")}
    assert seen == capabilities.NUMBERS


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        pytest.param([], [], set(capabilities.DEFAULT), id="default"),
        pytest.param(["net_raw"], ["CAP_CHOWN"], "+NET_RAW -CHOWN", id="add-and-drop"),
        pytest.param(["SYS_PTRACE,sys_time"], [], "+SYS_PTRACE +SYS_TIME", id="comma-list"),
        pytest.param([], ["all"], set(), id="drop-all"),
        pytest.param(["Net_Admin"], ["ALL"], {"CAP_NET_ADMIN"}, id="add-wins-over-drop-all"),
        pytest.param(["all"], ["kill"], set(capabilities.NAMES) - {"CAP_KILL"}, id="all-but-one"),
        pytest.param([], ["sys_boot"], set(capabilities.DEFAULT), id="drop-of-what-is-not-held"),
    ],
)
def test_resolve_follows_podman(
    add: Sequence[str], drop: Sequence[str], expected: str | set[str]
) -> None:
    if isinstance(expected, str):
        wanted = set(capabilities.DEFAULT)
        for word in expected.split():
            name = f"CAP_{word[1:]}"
            wanted = wanted | {name} if word[0] == "+" else wanted - {name}
        expected = wanted
    names = capabilities.resolve(add, drop, last=LAST)
    assert set(names) == expected
    assert list(names) == sorted(names)


def test_resolve_honours_a_drop_from_a_privileged_container() -> None:
    names = capabilities.resolve((), ("sys_admin",), True, last=LAST)
    assert set(names) == set(capabilities.NAMES) - {"CAP_SYS_ADMIN"}


def test_resolve_stops_at_what_the_kernel_knows() -> None:
    names = capabilities.resolve(("all",), (), last=36)
    assert "CAP_BLOCK_SUSPEND" in names
    assert "CAP_BPF" not in names
    with pytest.raises(UsageError, match="kernel does not know the capability CAP_BPF"):
        capabilities.resolve(("bpf",), (), last=36)


@pytest.mark.parametrize(
    ("add", "drop", "message"),
    [
        (["all"], ["all"], "contradict"),
        (["chown"], ["CAP_CHOWN"], "CAP_CHOWN is both added and dropped"),
        (["all", "kill"], ["kill"], "CAP_KILL is both added and dropped"),
        ([], ["NET_RWA"], 'unknown capability "NET_RWA"'),
    ],
)
def test_resolve_refuses_contradictions(
    add: Sequence[str], drop: Sequence[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        capabilities.resolve(add, drop, last=LAST)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        capabilities.resolve(("net_amdin",), (), last=LAST)
    assert caught.value.remedy == "did you mean CAP_NET_ADMIN?"


def test_root_holds_its_bounding_set_without_ambient() -> None:
    sets = capabilities.sets_for_user(capabilities.DEFAULT, uid=0)
    assert sets.effective == sets.permitted == sets.bounding == capabilities.DEFAULT
    assert sets.inheritable == sets.ambient == ()


def test_another_user_holds_only_what_was_added_by_name() -> None:
    names = capabilities.resolve(("net_raw",), (), last=LAST)
    sets = capabilities.sets_for_user(names, ("net_raw",), uid=1000, last=LAST)
    assert sets.effective == sets.permitted == sets.ambient == ("CAP_NET_RAW",)
    assert sets.bounding == names
    assert capabilities.sets_for_user(names, uid=1000, last=LAST).effective == ()


def test_masks_go_there_and_back() -> None:
    for name in capabilities.NAMES:
        assert capabilities.from_mask(capabilities.to_mask((name,))) == (name,)
    assert capabilities.from_mask(1 << 63) == ()


def test_last_capability_tolerates_a_host_without_the_file(tmp_path: Path) -> None:
    assert capabilities.last_capability(str(tmp_path / "none")) == len(capabilities.NAMES) - 1
    (tmp_path / "last").write_text("37\n")
    assert capabilities.last_capability(str(tmp_path / "last")) == 37
