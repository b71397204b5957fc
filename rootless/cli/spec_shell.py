"""The command `shell`: a container in which the caller is at home.

Options that it shares with `run` are the same, so they are taken from there.
"""

from rootless.cli.spec_run import CREATE_OPTIONS
from rootless.cli.table import (
    DIRECTORIES,
    FILES,
    IMAGES,
    UNLIMITED,
    Argument,
    Command,
    flag,
    text,
)

OF_RUN = (
    "volume", "mount", "tmpfs", "device", "gpus", "inject", "env", "env_file", "unsetenv",
    "workdir", "network",
    "publish", "security_opt", "cap_add", "cap_drop", "ulimit", "root_emulation", "pull",
    "platform", "tls_verify", "authfile", "creds", "cert_dir", "retry", "retry_delay", "quiet",
)  # fmt: skip

COMMANDS = (
    Command(
        "shell",
        "Work in an image as yourself",
        "shell:shell",
        (
            text("keep", "Keep what is changed in a shell of this name", metavar="NAME"),
            flag("as-root", "Be root inside; outside it is still you"),
            flag("home", "Have the home directory inside", default=True),
            text("rootfs", "Instead of an image: a copy of this directory, / for the host, that is "
                 "thrown away at the end", metavar="DIR", objects=DIRECTORIES),
            text("project", "Read this rpod.toml, also one that somebody else has written",
                 metavar="FILE", objects=FILES),
            flag("join", "Share one set of namespaces with the other ranks of the job step on this "
                 "node"),
            text("join-tag", "With --join: who belongs together, instead of the job step",
                 metavar="TAG"),
            *(option for option in CREATE_OPTIONS if option.field in OF_RUN),
        ),
        (
            Argument("image", 0, 1, "[IMAGE | . | --]", objects=IMAGES),
            Argument("command", 0, UNLIMITED, "[COMMAND [ARG...]]"),
        ),
        interspersed=False,
        description="Runs a shell, or a command, in an image, with your user name, home, working "
        "directory, groups, language, terminal, ssh agent, display and proxies, on the host's "
        "network. Files that you make there belong to you. Without an image the project's "
        "rpod.toml says what to use: the first one from the working directory upwards. Where "
        "there is one, a first word with a tag, a digest or a registry is an image, any other "
        "begins the command; . and -- say that a command follows. A dev shell is no boundary: "
        "what runs in it may do what you may.",
        examples=(
            "rpod shell docker.io/library/python:3.12",
            "rpod shell debian:12 make -j4",
            "rpod shell",
            "rpod shell pytest -q",
            "mpirun -n 4 rpod shell --join localhost/solver ./solver",
            "rpod shell --rootfs / sh ./untried-installer.sh",
            "rpod shell --keep tools --as-root debian:12 apt-get install -y gdb",
        ),
    ),
)  # fmt: skip
