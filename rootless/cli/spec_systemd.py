"""Commands that make units of systemd."""

from rootless.cli.table import CONTAINERS, DIRECTORIES, Argument, Command, flag, number, text

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
        ),
        (Argument("container", 1, 1, "CONTAINER", CONTAINERS),),
        description="Put it into ~/.config/systemd/user, then: systemctl --user enable --now NAME; "
        "loginctl enable-linger starts it at boot. Quadlet files (rpod quadlet) are easier to "
        "keep.",
        examples=("rpod generate systemd --new --files --name web",),
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
)  # fmt: skip
