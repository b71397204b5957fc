"""Commands about rpod and this host."""

from rootless.cli.table import FILES, UNLIMITED, Argument, Command, flag, many, number, text

COMMANDS = (
    Command(
        "info",
        "Show what rpod found out about this host",
        "system:info",
        (text("format", "json or a Go template", short="f", metavar="FORMAT"),),
        aliases=("system info",),
        examples=("rpod info", "rpod info -f '{{.store.graphRoot}}'"),
    ),
    Command(
        "version",
        "Show versions",
        "system:version",
        (text("format", "json or a Go template", short="f", metavar="FORMAT"),),
        examples=("rpod version -f '{{.Client.Version}}'",),
    ),
    Command(
        "events",
        "Show what has happened to containers, images, volumes and networks since the start",
        "events:events",
        (
            many("filter", "Show only what matches: container=, event=, image=, label=, type=, ...",
                 short="f", metavar="KEY=VALUE"),
            text("format", "json, or a Go template", metavar="FORMAT"),
            flag("no-stream", "End after what has happened so far"),
            flag("no-trunc", "Show ids in full", default=True),
            text("since", "Begin at a time, or a duration like 10m before now", metavar="TIME"),
            flag("stream", "Go on with what happens from now on", default=True),
            text("until", "End at a time, or a duration like 10m before now", metavar="TIME"),
        ),
        aliases=("system events",),
        description="Without --since only new events are shown. The file that keeps them is of "
        "limited size: the oldest ones go.",
        examples=(
            "rpod events --since 1h --stream=false",
            "rpod events --filter event=died --format '{{.Name}} {{.ContainerExitCode}}'",
        ),
    ),
    Command(
        "unshare",
        "Run a command in the user namespace of containers",
        "system:unshare",
        (),
        (Argument("command", 0, UNLIMITED, "[COMMAND [ARG...]]"),),
        interspersed=False,
        description="There you are root, and files of your subordinate ids are yours to look at "
        "and to remove. Starts your shell when no command is given.",
        examples=("rpod unshare cat /proc/self/uid_map", "rpod unshare rm -r ./data"),
    ),
    Command(
        "doctor",
        "Try each step that a container needs and say how to fix what fails",
        "system:doctor",
        (text("format", "How to print the result", default="text", choices=("text", "json")),),
        description="Exit code 0 when containers can run, 1 when something that they need fails.",
        examples=("rpod doctor", "rpod doctor --format json"),
    ),
    Command(
        "system service",
        "Answer programs that speak docker's API, on a socket",
        "service:service",
        (
            number("time", "Seconds without a connection after which it ends; 0 never", short="t",
                   default=5),
        ),
        (Argument("uri", 0, 1, "[URI]"),),
        description="The socket is unix://$XDG_RUNTIME_DIR/rpod/rpod.sock, or the one that systemd "
        "has opened. It is no daemon: containers are those of the command line, they start, run "
        "and end without it. Only your own user may connect; tcp://127.0.0.1:PORT is possible, "
        "other addresses are refused.",
        examples=(
            "rpod system service --time 0 &",
            "rpod system service unix:///tmp/mine/docker.sock",
        ),
    ),
    Command(
        "completion",
        "Print a shell's completion script",
        "system:completion",
        (
            text("file", "Write to a file", short="f", metavar="FILE", objects=FILES),
        ),
        (Argument("shell", 1, 1, "bash|zsh|fish"),),
        examples=(
            "rpod completion bash > ~/.local/share/bash-completion/completions/rpod",
            "rpod completion zsh -f ~/.zfunc/_rpod",
        ),
    ),
)  # fmt: skip
