"""Commands that make units of systemd."""

from rootless.cli.table import (
    COMMAS,
    CONTAINERS,
    DIRECTORIES,
    FILES,
    Argument,
    Command,
    flag,
    many,
    number,
    text,
)

COMMANDS = (
    Command(
        "generate systemd",
        "Print a unit of systemd for a container",
        "systemd:generate",
        (
            flag("new", "The service makes the container anew at each start"),
            flag("name", "Use the container's name instead of its id", short="n"),
            flag("files", "Write the unit to a file here instead", short="f"),
            flag("no-header", "Leave the first comment out"),
            text("container-prefix", "Beginning of the unit's name", default="container"),
            text("separator", "What stands between prefix and name", default="-"),
            text("restart-policy", "When systemd starts it again", default="on-failure",
                 choices=("no", "on-success", "on-failure", "on-abnormal", "on-watchdog",
                          "on-abort", "always")),
            number("restart-sec", "Seconds before it does so"),
            number("stop-timeout", "Seconds before a stop becomes a kill", short="t"),
            number("start-timeout", "Seconds that its start may take"),
            many("wants", "A unit that is started with it", metavar="UNIT", kind=COMMAS),
            many("after", "A unit that it is started after", metavar="UNIT", kind=COMMAS),
            many("requires", "A unit that it does not run without", metavar="UNIT", kind=COMMAS),
            many("env", "Set a variable for the service", short="e", metavar="NAME[=VALUE]"),
            text("format", "json: the unit's text, or its file, by its name", metavar="FORMAT",
                 choices=("json",)),
            flag("at-boot", "One unit for all containers whose restart policy wants it"),
        ),
        (Argument("container", 0, 1, "CONTAINER", CONTAINERS),),
        description="Put it into ~/.config/systemd/user, then: systemctl --user enable --now NAME; "
        "loginctl enable-linger starts it at boot. Quadlet files (rpod quadlet) are easier to "
        "keep. With --at-boot it is rpod-restart.service, for no container in particular: it "
        "starts those with --restart=always, and those with --restart=unless-stopped that were "
        "not stopped.",
        examples=("rpod generate systemd --new --files --name web",
                  "rpod generate systemd --at-boot --files"),
    ),
    Command(
        "quadlet",
        "Make services of systemd from Quadlet files",
        "systemd:quadlet",
        (flag("dry-run", "Print the services instead"),),
        (
            Argument("output", 0, 1, "DIR", DIRECTORIES),
            Argument("others", 0, 2, "[DIR DIR]", DIRECTORIES),
        ),
        description="Reads *.container, *.volume, *.network, *.image and *.build below "
        "~/.config/containers/systemd and /etc/containers/systemd/users. Without DIR the services "
        "go to ~/.config/systemd/user, those without a file any more are removed, and systemd is "
        "told. As a program in /etc/systemd/user-generators it is called by systemd with DIR "
        "(contrib/systemd/rpod-user-generator).",
        examples=("rpod quadlet --dry-run", "rpod quadlet && systemctl --user start web"),
    ),
    Command(
        "auto-update",
        "Restart services whose images have changed",
        "auto_update:auto_update",
        (
            text("authfile", "File with registry credentials", metavar="FILE", objects=FILES),
            flag("dry-run", "Only say what would be updated"),
            text("format", "json, or a Go template", metavar="FORMAT"),
            flag("rollback", "Go back to the old image when the restart fails", default=True),
            flag("tls-verify", "Demand HTTPS and a certificate that can be verified",
                 default=None),
        ),
        description="Looks at running containers with the label io.containers.autoupdate=registry "
        "(AutoUpdate= in a Quadlet file), or local, that a service of yours has started. When the "
        "restart fails, or the new container turns unhealthy, the image's name goes back to the "
        "old image and the service is restarted on it.",
        examples=("rpod auto-update --dry-run",),
    ),
)  # fmt: skip
