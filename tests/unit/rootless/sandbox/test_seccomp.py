"""The compiler, the documents and the default policy, run on a machine of our own."""

import ctypes
import errno
import functools
import os
import runpy
import sys
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rootless.errors import HostError, UsageError
from rootless.sandbox import bpf, capabilities, seccomp, seccomp_compiler, seccomp_profile
from rootless.sandbox import syscall_numbers as sn
from rootless.sandbox.seccomp_compiler import ALLOW, ERRNO, KILL_PROCESS, NO_SUCH_CALL
from tests.support import bpf_machine

REPOSITORY = Path(__file__).parents[4]
DENIED = ERRNO | errno.EPERM
KERNEL = "6.1.0-28-amd64"
NUMBERS = functools.cache(sn.numbers)


class Filter:
    """A compiled filter that answers what a call gets."""

    def __init__(self, program: bytes) -> None:
        self.code = bpf_machine.parse(program)
        self.steps = 0

    def __call__(self, architecture: str, name: str, *arguments: int) -> int:
        number = NUMBERS(architecture)[name]
        return self.number(architecture, number, *arguments)

    def number(self, architecture: str, number: int, *arguments: int) -> int:
        audit = sn.AUDIT_ARCH[architecture]
        action, self.steps = bpf_machine.execute(self.code, audit, number, arguments)
        return action


@pytest.fixture(scope="module")
def usual() -> Filter:
    return Filter(seccomp.default_filter("x86_64", capabilities.DEFAULT))


def compiled(profile: object, machine: str = "x86_64", *held: str, kernel: str = KERNEL) -> Filter:
    return Filter(seccomp.compile_profile(profile, machine, held, kernel, "p.json"))


# The default filter


@pytest.mark.parametrize("architecture", ["x86_64", "i386"])
@pytest.mark.parametrize(
    "name", ["read", "openat", "execve", "clone", "clone3", "unshare", "mount", "setns", "futex"]
)
def test_default_allows(usual: Filter, architecture: str, name: str) -> None:
    assert usual(architecture, name) == ALLOW


@pytest.mark.parametrize("architecture", ["x86_64", "i386"])
@pytest.mark.parametrize(
    "name",
    ["kexec_load", "swapon", "userfaultfd", "vmsplice", "bpf", "open_by_handle_at", "settimeofday"],
)
def test_default_refuses(usual: Filter, architecture: str, name: str) -> None:
    assert usual(architecture, name) == DENIED


@pytest.mark.parametrize("architecture", ["x86_64", "i386"])
@pytest.mark.parametrize("name", ["io_uring_setup", "add_key", "request_key"])
def test_default_hides_what_it_does_not_name(usual: Filter, architecture: str, name: str) -> None:
    assert usual(architecture, name) == NO_SUCH_CALL


@pytest.mark.parametrize("number", [337, 470, 511, 5000, 0x3FFFFFFF, 0x40000000 | 470, 0xFFFFFFFF])
def test_default_hides_unknown_numbers(usual: Filter, number: int) -> None:
    assert usual.number("x86_64", number) == NO_SUCH_CALL


def test_x32_is_as_on_a_kernel_without_it(usual: Filter) -> None:
    for name in ("read", "execve", "kexec_load"):
        assert usual("x32", name) == NO_SUCH_CALL


def test_a_foreign_architecture_is_killed(usual: Filter) -> None:
    assert usual.number("aarch64", 56) == KILL_PROCESS


@pytest.mark.parametrize(
    ("family", "protocol", "expected"),
    [
        pytest.param(2, 6, ALLOW, id="inet"),
        pytest.param(16, 0, ALLOW, id="netlink-route"),
        pytest.param(1, 9, ALLOW, id="nine-elsewhere"),
        pytest.param(16, 9, ERRNO | errno.EINVAL, id="netlink-audit"),
        pytest.param(16 | 1 << 32, 9 | 1 << 63, ERRNO | errno.EINVAL, id="audit-with-high-bits"),
        pytest.param(38, 0, ERRNO | errno.EAFNOSUPPORT, id="alg"),
        pytest.param(40, 0, ERRNO | errno.EAFNOSUPPORT, id="vsock"),
        pytest.param(40 | 1 << 32, 0, ERRNO | errno.EAFNOSUPPORT, id="vsock-with-high-bits"),
    ],
)
def test_default_looks_at_socket_families(
    usual: Filter, family: int, protocol: int, expected: int
) -> None:
    for architecture in ("x86_64", "i386"):
        assert usual(architecture, "socket", family, 1, protocol) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, ALLOW),
        (8, ALLOW),
        (0x20000, ALLOW),
        (0x20008, ALLOW),
        (0xFFFFFFFF, ALLOW),
        (0xFFFFFFFFFFFFFFFF, ALLOW),
        (0x40000, NO_SUCH_CALL),
        (0x0100000 | 8, NO_SUCH_CALL),
    ],
)
def test_default_looks_at_personalities(usual: Filter, value: int, expected: int) -> None:
    assert usual("x86_64", "personality", value) == expected


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYS_ADMIN", "bpf"),
        ("CAP_SYS_ADMIN", "sethostname"),
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_SYS_MODULE", "finit_module"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_PTRACE", "kcmp"),
        ("CAP_SYS_RAWIO", "iopl"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ],
)
def test_a_capability_opens_its_calls(capability: str, name: str) -> None:
    assert Filter(seccomp.default_filter("x86_64", ()))("x86_64", name) == DENIED
    assert Filter(seccomp.default_filter("x86_64", (capability,)))("x86_64", name) == ALLOW


def test_audit_write_opens_audit_sockets() -> None:
    held = Filter(seccomp.default_filter("x86_64", ("CAP_AUDIT_WRITE",)))
    assert held("x86_64", "socket", 16, 3, 9) == ALLOW
    assert held("x86_64", "socket", 40, 1, 0) == ERRNO | errno.EAFNOSUPPORT


def test_aarch64_speaks_for_its_32_bit_programs_too() -> None:
    filter_ = Filter(seccomp.default_filter("aarch64", capabilities.DEFAULT))
    assert filter_("aarch64", "openat") == ALLOW
    assert filter_("arm", "open") == ALLOW
    assert filter_("arm", "set_tls") == ALLOW
    assert filter_("aarch64", "kexec_load") == DENIED
    assert filter_.number("x86_64", 0) == KILL_PROCESS


def test_common_calls_are_decided_in_few_steps(usual: Filter) -> None:
    for name in sn.numbers("x86_64"):
        if name not in ("socket", "personality"):
            usual("x86_64", name)
            assert usual.steps <= 13, name  # of about 480 instructions


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("added", [(), ("CAP_SYS_ADMIN", "CAP_AUDIT_WRITE"), capabilities.NAMES])
def test_filters_stay_far_below_the_kernels_limit(machine: str, added: tuple[str, ...]) -> None:
    program = seccomp.default_filter(machine, (*capabilities.DEFAULT, *added))
    assert len(program) // 8 < bpf.MAX_INSTRUCTIONS // 4


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_ready_modules_are_up_to_date(architecture: str) -> None:
    generator = runpy.run_path(str(REPOSITORY / "contrib/generate/seccomp_ready.py"))
    text = generator["render"](architecture)
    assert Path(generator["path"](architecture)).read_text() == text, (
        "run python3 contrib/generate/seccomp_ready.py"
    )


def test_ready_filters_are_used_only_where_they_fit() -> None:
    assert seccomp._RELEVANT == seccomp_profile.RELEVANT
    for held in [(), ("CAP_SYS_CHROOT",), ("CAP_SYS_TIME",), ("CAP_SYS_CHROOT", "CAP_SYS_TIME")]:
        policy = seccomp_profile.default_policy("x86_64", held)
        compiled_now = seccomp_compiler.compile_policy(policy)
        assert seccomp.default_filter("x86_64", (*held, "CAP_NET_RAW")) == compiled_now


def test_the_usual_filter_loads_neither_compiler_nor_tables() -> None:
    import subprocess

    script = (
        "import sys; from rootless.sandbox.seccomp import default_filter;"
        "default_filter('x86_64', ('CAP_SYS_CHROOT',));"
        "print(sorted(name for name in sys.modules if name.startswith('rootless.sandbox.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.strip() == str(
        ["rootless.sandbox.seccomp", "rootless.sandbox.seccomp_x86_64"]
    )


def test_every_name_of_the_policy_is_a_call_of_some_architecture() -> None:
    """A misspelt name would silently answer ENOSYS."""
    known = {name for architecture in sn.ARCHITECTURES for name in NUMBERS(architecture)}
    policy = seccomp_profile.default_policy("x86_64", capabilities.DEFAULT)
    assert sorted(set(policy.rules) - known) == []


def test_an_unknown_machine_is_told_how_to_go_on() -> None:
    with pytest.raises(HostError, match="system calls of vax are not known") as caught:
        seccomp.default_filter("vax", ())
    assert "seccomp=unconfined" in caught.value.remedy


# libseccomp, the filter maker of the other runtimes, as a second opinion


class _ScmpArg(ctypes.Structure):
    _fields_ = [  # type: ignore[mutable-override]  # typeshed declares a union of lists
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


SCMP_OPERATORS = {"ne": 1, "lt": 2, "le": 3, "eq": 4, "ge": 5, "gt": 6, "masked": 7}
SCMP_X32 = 0x4000003E


def libseccomp_filter(policy: seccomp_compiler.Policy, tmp_path: Path) -> bytes:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp.so.2 is missing: install libseccomp2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(policy.default_action)))
    for architecture in policy.architectures:
        token = SCMP_X32 if architecture == "x32" else sn.AUDIT_ARCH[architecture]
        library.seccomp_arch_add(context, ctypes.c_uint32(token))
    for name, rules in policy.rules.items():
        number = library.seccomp_syscall_resolve_name(name.encode())
        for rule in rules:
            items = [
                _ScmpArg(item.argument, SCMP_OPERATORS[item.operator], item.value, item.value_two)
                for item in rule.conditions
            ]
            code = library.seccomp_rule_add_array(
                context,
                ctypes.c_uint32(rule.action),
                number,
                len(items),
                (_ScmpArg * max(1, len(items)))(*items),
            )
            assert code == 0 or number == -1, name
    with open(tmp_path / "filter", "w+b") as file:
        assert library.seccomp_export_bpf(context, file.fileno()) == 0
        file.seek(0)
        return file.read()


def test_libseccomp_decides_the_same(tmp_path: Path) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the libseccomp of another architecture speaks for that one")
    policy = seccomp_profile.default_policy("x86_64", capabilities.DEFAULT)
    # Families are refused with rules that libseccomp has no order for; it has no name for the
    # newest calls; socketcall and ipc it takes apart in its own way.
    rules = {name: own for name, own in policy.rules.items() if name not in ("socket", "ipc")}
    del rules["socketcall"]
    policy = policy._replace(rules=rules, architectures=("x86_64", "i386", "x32"))
    theirs = Filter(libseccomp_filter(policy, tmp_path))
    ours = Filter(seccomp_compiler.compile_policy(policy))
    library = ctypes.CDLL("libseccomp.so.2")
    compared = 0
    for architecture in ("x86_64", "i386", "x32"):
        token = SCMP_X32 if architecture == "x32" else sn.AUDIT_ARCH[architecture]
        for name, number in sn.numbers(architecture).items():
            if name in ("socketcall", "ipc"):
                continue
            known = library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(token), name.encode())
            if known == -1:
                continue
            for value in (0, 8, 9, 0x20008, 0xFFFFFFFF):
                here = (name, architecture, value)
                expected = theirs.number(architecture, number, value)
                assert (*here, ours.number(architecture, number, value)) == (*here, expected)
                compared += 1
    assert compared > 5000


# Profiles of the user


NAMES = ("read", "write", "openat", "mkdirat", "socket", "bind", "clone", "personality", "futex")
OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
EDGES = (
    0,
    1,
    2,
    7,
    0xFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 32,
    (1 << 32) + 7,
    (1 << 64) - 1,
)
words = st.one_of(st.sampled_from(EDGES), st.integers(0, (1 << 64) - 1))
actions = st.sampled_from(["ALLOW", "ERRNO", "KILL_PROCESS", "KILL", "TRAP", "LOG", "TRACE"])
arguments = st.fixed_dictionaries(
    {
        "index": st.integers(0, 5),
        "op": st.sampled_from([f"SCMP_CMP_{name}" for name in OPERATORS]),
        "value": words,
        "valueTwo": words,
    }
)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, object]:
    action = draw(actions)
    entry: dict[str, object] = {
        "names": draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)),
        "action": f"SCMP_ACT_{action}",
        "args": draw(st.lists(arguments, max_size=4)),
    }
    if action in ("ERRNO", "TRACE"):
        entry["errnoRet"] = draw(st.one_of(st.none(), st.integers(0, 4095)))
    if draw(st.booleans()):
        capability = draw(st.sampled_from(["CAP_SYS_ADMIN", "CAP_CHOWN"]))
        where = draw(st.sampled_from(["includes", "excludes"]))
        entry[where] = {"caps": [capability]}
    return entry


profiles = st.fixed_dictionaries(
    {
        "defaultAction": st.sampled_from(["SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"]),
        "defaultErrnoRet": st.integers(0, 4095),
        "architectures": st.just(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]),
        "syscalls": st.lists(entries(), max_size=8),
    }
)


def action_value(entry: dict[str, object], key: str) -> int:
    base = {
        "SCMP_ACT_ALLOW": 0x7FFF0000,
        "SCMP_ACT_LOG": 0x7FFC0000,
        "SCMP_ACT_TRACE": 0x7FF00000,
        "SCMP_ACT_ERRNO": 0x00050000,
        "SCMP_ACT_TRAP": 0x00030000,
        "SCMP_ACT_KILL": 0,
        "SCMP_ACT_KILL_PROCESS": 0x80000000,
    }[str(entry[key])]
    if entry[key] in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        number = entry.get("defaultErrnoRet", entry.get("errnoRet"))
        base |= 1 if number is None else cast(int, number)
    return base


def holds(item: dict[str, object], call: tuple[int, ...]) -> bool:
    value, two = cast(int, item["value"]), cast(int, item["valueTwo"])
    argument = call[cast(int, item["index"])]
    return {
        "SCMP_CMP_NE": argument != value,
        "SCMP_CMP_LT": argument < value,
        "SCMP_CMP_LE": argument <= value,
        "SCMP_CMP_EQ": argument == value,
        "SCMP_CMP_GE": argument >= value,
        "SCMP_CMP_GT": argument > value,
        "SCMP_CMP_MASKED_EQ": argument & value == two & value,
    }[str(item["op"])]


def evaluate(profile: dict[str, object], name: str, call: tuple[int, ...], held: str) -> int:
    """Read the profile as its words say, without any program."""
    matching: list[int] = []
    for entry in cast(list[dict[str, object]], profile["syscalls"]):
        needed = cast(dict[str, list[str]], entry.get("includes") or {}).get("caps", [])
        unwanted = cast(dict[str, list[str]], entry.get("excludes") or {}).get("caps", [])
        if name not in cast(list[str], entry["names"]):
            continue
        if not set(needed) <= {held} or held in unwanted:
            continue
        items = cast(list[dict[str, object]], entry["args"])
        if not items:
            return action_value(entry, "action")
        indexes = [item["index"] for item in items]
        combine = all if len(set(indexes)) == len(indexes) else any
        if combine(holds(item, call) for item in items):
            matching.append(action_value(entry, "action"))
    return matching[0] if matching else action_value(profile, "defaultAction")


def unconditional_first(profile: dict[str, object]) -> dict[str, object]:
    """A rule without arguments stands for all: let the direct evaluation meet it first."""
    listed = cast(list[dict[str, object]], profile["syscalls"])
    return {**profile, "syscalls": sorted(listed, key=lambda entry: bool(entry["args"]))}


@settings(max_examples=120, deadline=None)
@given(
    profile=profiles,
    calls=st.lists(st.tuples(words, words, words, words, words, words), min_size=1, max_size=6),
    held=st.sampled_from(["CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_KILL"]),
)
def test_programs_do_what_profiles_say(
    profile: dict[str, object], calls: list[tuple[int, ...]], held: str
) -> None:
    filter_ = compiled(profile, "x86_64", held)
    plain = unconditional_first(profile)
    # Values from the profile itself, and their neighbours, are where mistakes would be.
    for entry in cast(list[dict[str, object]], profile["syscalls"]):
        for item in cast(list[dict[str, object]], entry["args"]):
            value = cast(int, item["value"])
            near = [value, value - 1, value + 1, value ^ 1 << 32, cast(int, item["valueTwo"])]
            calls = [*calls, *[(number % (1 << 64),) * 6 for number in near]]
    for name in NAMES:
        for call in calls:
            expected = evaluate(plain, name, call, held)
            for architecture in ("x86_64", "x32"):
                assert filter_(architecture, name, *call) == expected


ALLOW_READ = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}


def test_numbers_newer_than_the_profile_do_not_exist() -> None:
    """A list from before a call existed must not make new programs fail with EPERM."""
    known = {"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [known]}
    filter_ = compiled(profile)
    assert filter_("x86_64", "write") == DENIED
    assert filter_("x86_64", "mseal") == NO_SUCH_CALL
    explicit = compiled({**profile, "defaultErrnoRet": 1})
    assert explicit("x86_64", "mseal") == DENIED


def test_unlisted_architectures_do_not_slip_through_a_deny_list() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    filter_ = compiled(profile)
    assert filter_("x86_64", "mkdir") == DENIED
    assert filter_("x86_64", "read") == ALLOW
    assert filter_("i386", "mkdir") == KILL_PROCESS
    assert filter_("x32", "mkdir") == NO_SUCH_CALL


def test_arch_map_adds_the_sub_architectures() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"]},
        ],
        "syscalls": [ALLOW_READ],
    }
    assert compiled(profile)("i386", "read") == ALLOW
    assert compiled(profile, "aarch64").number("arm", 3) == KILL_PROCESS


def test_a_denied_socket_call_cannot_be_made_through_socketcall() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["socket", "shmget"], "action": "SCMP_ACT_ERRNO"}],
    }
    filter_ = compiled(profile)
    assert filter_("i386", "socketcall", 1) == DENIED
    assert filter_("i386", "socketcall", 2) == ALLOW
    assert filter_("i386", "ipc", 23 | 1 << 16) == DENIED
    assert filter_("i386", "ipc", 24) == ALLOW


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"includes": {"arches": ["amd64"]}}, ALLOW),
        ({"includes": {"arches": ["arm64"]}}, DENIED),
        ({"excludes": {"arches": ["amd64"]}}, DENIED),
        ({"includes": {"minKernel": "4.8"}}, ALLOW),
        ({"includes": {"minKernel": "6.2"}}, DENIED),
        ({"excludes": {"minKernel": "6.1"}}, DENIED),
        ({"includes": {"caps": ["CAP_KILL", "CAP_CHOWN"]}}, DENIED),
        ({"includes": {"caps": ["CAP_KILL"]}}, ALLOW),
        ({"excludes": {"caps": ["CAP_KILL"]}}, DENIED),
        ({"includes": None, "excludes": {}, "args": None, "comment": ""}, ALLOW),
    ],
    ids=str,
)
def test_docker_conditions(condition: dict[str, object], expected: int) -> None:
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{**ALLOW_READ, **condition}]}
    assert compiled(profile, "x86_64", "CAP_KILL")("x86_64", "read") == expected


def test_errno_may_be_given_by_name() -> None:
    rule = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "ENODEV"}
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOSYS", "syscalls": [rule]}
    filter_ = compiled(profile)
    assert filter_("x86_64", "read") == ERRNO | errno.ENODEV
    assert filter_("x86_64", "write") == NO_SUCH_CALL


def test_names_of_other_architectures_are_passed_over() -> None:
    rule = {"names": ["s390_runtime_instr", "not_yet_invented", "read"], "action": "SCMP_ACT_ALLOW"}
    filter_ = compiled({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]})
    assert filter_("x86_64", "read") == ALLOW


def rule_with(**changes: object) -> dict[str, object]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{**ALLOW_READ, **changes}]}


ARGUMENT = {"index": 0, "op": "SCMP_CMP_EQ", "value": 1}


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ([], "p.json: expected an object, found a list"),
        ({}, "p.json: defaultAction: unknown action None"),
        ({"defaultAction": "ALLOW"}, "defaultAction: unknown action 'ALLOW'"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "needs a seccomp agent"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}, "listenerPath"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "syscalls: expected a list"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [3]}, r"syscalls\[0\]: expected an obj"),
        (rule_with(names=[]), r"syscalls\[0\]\.names: names no system call"),
        (rule_with(names=[7]), r"syscalls\[0\]\.names\[0\]: expected a name, found a number"),
        (rule_with(action="x"), r"syscalls\[0\]: action: unknown action 'x'"),
        (rule_with(errnoRet=1), "SCMP_ACT_ALLOW has no error number"),
        (rule_with(action="SCMP_ACT_ERRNO", errnoRet=1 << 16), "errnoRet: expected a number"),
        (rule_with(action="SCMP_ACT_ERRNO", errno="EWHAT"), "unknown error 'EWHAT'"),
        (rule_with(args={}), r"args: expected a list"),
        (rule_with(args=[{**ARGUMENT, "index": 6}]), r"args\[0\]\.index: expected a number from 0"),
        (rule_with(args=[{**ARGUMENT, "op": "=="}]), r"args\[0\]\.op: unknown operator '=='"),
        (rule_with(args=[{**ARGUMENT, "value": -1}]), r"args\[0\]\.value: expected a number"),
        (rule_with(args=[{**ARGUMENT, "value": True}]), r"args\[0\]\.value: expected a number"),
        (rule_with(args=[{**ARGUMENT, "value": 1.5}]), r"args\[0\]\.value: expected a number"),
        (rule_with(args=[{**ARGUMENT, "value": 1 << 64}]), r"args\[0\]\.value: expected a number"),
        (rule_with(includes={"minKernel": "new"}), "minKernel: not a kernel version: 'new'"),
        (rule_with(includes=[1]), r"includes: expected an object"),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["amd64"]},
            "architectures: unknown architecture 'amd64'",
        ),
        ({"defaultAction": "SCMP_ACT_ALLOW", "archMap": ["x"]}, r"archMap\[0\]: expected an obj"),
    ],
)
def test_malformed_profiles_are_refused_with_the_place(profile: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compiled(profile)


def test_a_profile_longer_than_the_kernel_takes_is_refused() -> None:
    conditions = [
        {"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": 1 << index, "valueTwo": 1}
        for index in range(6)
    ]
    rule = {"names": ["read", "openat"], "action": "SCMP_ACT_ALLOW", "args": conditions}
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule] * 100}
    with pytest.raises(UsageError, match="instructions, the kernel takes 4096"):
        compiled(profile)


def test_long_ways_are_jumped_in_one_step() -> None:
    """More instructions between two branches than a conditional jump can reach."""
    conditions = [{"index": 0, "op": "SCMP_CMP_EQ", "value": value} for value in range(0, 400, 2)]
    rule = {"names": ["read", "clone"], "action": "SCMP_ACT_ALLOW", "args": conditions}
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule, ALLOW_READ]}
    filter_ = compiled({**profile, "defaultErrnoRet": 1})
    assert filter_("x86_64", "clone", 398) == ALLOW
    assert filter_("x86_64", "clone", 399) == DENIED
    assert filter_("x86_64", "read", 399) == ALLOW
    assert filter_("x86_64", "mkdir") == DENIED
