"""Be root, forbid a socket option to this process and its children, then execute a command.

usage: python -P FILE LEVEL OPTION COMMAND...   (by its path: nobody else's directory has the tests)
"""

import os
import sys

from rootless.linux.syscalls import install_seccomp_filter
from rootless.sandbox.seccomp import compile_profile


def main(level: str, option: str, *command: str) -> None:
    arguments = [
        {"index": 1, "value": int(level), "op": "SCMP_CMP_EQ"},
        {"index": 2, "value": int(option), "op": "SCMP_CMP_EQ"},
    ]
    rule = {"names": ["setsockopt"], "action": "SCMP_ACT_ERRNO", "errnoRet": 92, "args": arguments}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    name = os.uname()
    install_seccomp_filter(compile_profile(profile, name.machine, [], name.release, where="test"))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
