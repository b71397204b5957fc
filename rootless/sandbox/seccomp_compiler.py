"""From a policy on system calls to the program that the kernel runs before each of them."""

import errno

from rootless.errors import HostError
from rootless.sandbox import bpf, syscall_numbers
from rootless.sandbox.bpf import Block, Compare, Rule
from storage.record import NamedTuple

# linux/seccomp.h, SECCOMP_RET_*.
KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

NO_SUCH_CALL = ERRNO | errno.ENOSYS

# uname(2) machine -> the name of its table.
_MACHINES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "i386": "i386",
    "i686": "i386",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
}

# Other architectures whose programs the kernel of one may run too.
COMPATIBLE = {
    "x86_64": ("i386", "x32"),
    "i386": (),
    "aarch64": ("arm",),
    "arm": (),
}

# i386 reaches these also through one call each, which takes the number of the wanted operation as
# its first argument: linux/net.h from 1 on, linux/ipc.h.
_SOCKET_CALLS = (
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
)
_IPC_CALLS = {
    "semop": 1,
    "semget": 2,
    "semctl": 3,
    "semtimedop": 4,
    "msgsnd": 11,
    "msgrcv": 12,
    "msgget": 13,
    "msgctl": 14,
    "shmat": 21,
    "shmdt": 22,
    "shmget": 23,
    "shmctl": 24,
}
_IPC_OPERATION = 0xFFFF


class Policy(NamedTuple):
    """What may be called.

    Of a call's rules the first whose conditions hold decides, and the default action if none does.
    `newer_action`, where given, is for numbers above any that the policy names: calls that its
    author could not know.
    """

    default_action: int
    rules: dict[str, tuple[Rule, ...]]
    architectures: tuple[str, ...]
    newer_action: int | None = None


def table_name(machine: str) -> str:
    """Return the architecture for what uname(2) says.

    Raises HostError: no table for it.
    """
    try:
        return _MACHINES[machine]
    except KeyError:
        raise HostError(
            f"make a seccomp filter: the system calls of {machine} are not known",
            remedy="run without one: --security-opt seccomp=unconfined",
        ) from None


def compile_policy(policy: Policy) -> bytes:
    """Return the bytes of a `struct sock_filter` array; the first architecture is the fast one.

    Raises UsageError: longer than the kernel takes.
    """
    # A call by an architecture that the policy does not speak of must not pass unseen.
    program = bpf.returning(KILL_PROCESS)
    by_audit: dict[int, list[str]] = {}
    for name in policy.architectures:
        by_audit.setdefault(syscall_numbers.AUDIT_ARCH[name], []).append(name)
    for audit, names in reversed(by_audit.items()):
        block: Block = [(bpf.LOAD, 0, 0, bpf.NUMBER_OFFSET), *_numbers(policy, names)]
        program = bpf.choose(bpf.EQUAL, audit, block, program)
    return bpf.assemble([(bpf.LOAD, 0, 0, bpf.ARCHITECTURE_OFFSET), *program])


def _numbers(policy: Policy, architectures: list[str]) -> Block:
    """Return the block for the number; x86_64 and x32 share one, they differ in a bit of it."""
    outcomes: dict[int, Block] = {}
    defaults = {0: bpf.returning(NO_SUCH_CALL)}
    if architectures == ["x86_64"]:
        defaults[syscall_numbers.X32_BIT] = bpf.returning(NO_SUCH_CALL)
    for name in architectures:
        own = _outcomes(policy, name)
        outcomes.update(own)
        first = syscall_numbers.X32_BIT if name == "x32" else 0
        defaults[first] = bpf.returning(policy.default_action)
        if policy.newer_action is not None and own:
            defaults[max(own) + 1] = bpf.returning(policy.newer_action)
    return bpf.decide(outcomes, defaults)


def _outcomes(policy: Policy, architecture: str) -> dict[int, Block]:
    numbers = syscall_numbers.numbers(architecture)
    by_number: dict[int, list[Rule]] = {}
    for name, rules in policy.rules.items():
        number = numbers.get(name)
        if number is not None:
            by_number.setdefault(number, []).extend(rules)
    if architecture == "i386":
        _add_multiplexed(policy, by_number, numbers)
    return {
        number: bpf.conditional(rules, policy.default_action) for number, rules in by_number.items()
    }


def _add_multiplexed(
    policy: Policy, by_number: dict[int, list[Rule]], numbers: dict[str, int]
) -> None:
    """Let a rule for `bind` hold for socketcall(SYS_BIND) too, and so on.

    Rules with conditions cannot be carried over: there the arguments lie in memory.
    """
    operations = [
        ("socketcall", name, Compare(0, "eq", number))
        for number, name in enumerate(_SOCKET_CALLS, 1)
    ]
    operations += [
        ("ipc", name, Compare(0, "masked", _IPC_OPERATION, number))
        for name, number in _IPC_CALLS.items()
    ]
    for multiplexer, name, compare in operations:
        for rule in policy.rules.get(name, ()):
            if not rule.conditions:
                by_number.setdefault(numbers[multiplexer], []).append(Rule(rule.action, (compare,)))
