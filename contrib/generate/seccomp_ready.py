"""Write the default filters as the bytes that the kernel takes, a module for each architecture.

    python3 contrib/generate/seccomp_ready.py

Run it after a change to the policy, the compiler or the tables; a test compares what it would
write with rootless/sandbox/seccomp_x86_64.py and seccomp_aarch64.py.
"""

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, _ROOT)

from rootless.sandbox import seccomp_compiler, seccomp_profile  # noqa: E402

ARCHITECTURES = ("x86_64", "aarch64")
_FILTERS = (("WITH_CHROOT", ("CAP_SYS_CHROOT",)), ("WITHOUT_CHROOT", ()))
_LINE_BYTES = 46


def path(architecture: str) -> str:
    return f"{_ROOT}/rootless/sandbox/seccomp_{architecture}.py"


def render(architecture: str) -> str:
    """Return the text of the module."""
    lines = [
        f'"""Made by contrib/generate/seccomp_ready.py: the default filters of {architecture}.',
        "",
        "Each is a `struct sock_filter` array in hexadecimal digits, for containers with and",
        "without CAP_SYS_CHROOT and with no other capability on which the policy depends.",
        '"""',
    ]
    for name, capabilities in _FILTERS:
        policy = seccomp_profile.default_policy(architecture, capabilities)
        data = seccomp_compiler.compile_policy(policy)
        parts = [data[start : start + _LINE_BYTES] for start in range(0, len(data), _LINE_BYTES)]
        lines += ["", f"{name} = (", *(f'    "{part.hex()}"' for part in parts), ")"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name in ARCHITECTURES:
        with open(path(name), "w") as file:
            file.write(render(name))
