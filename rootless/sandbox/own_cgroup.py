"""Give the cgroup of a container to the root of its user namespace, where that is not the caller.

systemd divides it, so it has to own the directory and the three files that cgroup-v2.rst
(Delegation) names; limits stay the caller's, out of reach of the cgroup namespace.
"""

import os

from rootless.linux import cgroup

# Where `exec` puts what it starts: the caller's, so that it needs no right over the container.
EXEC = "rpod-exec"
_FILES = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control")


def give_to_root() -> None:
    """To be called in it with all capabilities of the namespace, before its cgroup namespace."""
    path = cgroup.mount_point() + cgroup.own_path()
    os.mkdir(f"{path}/{EXEC}")
    for name in ("", *_FILES):
        os.chown(f"{path}/{name}", 0, 0)
