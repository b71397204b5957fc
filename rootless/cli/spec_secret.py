"""Commands on secrets."""

from rootless.cli.table import (
    COMMAS,
    FILES,
    SECRETS,
    UNLIMITED,
    Argument,
    Command,
    flag,
    many,
    text,
)

COMMANDS = (
    Command(
        "secret create",
        "Keep a secret for containers",
        "secret:create",
        (
            text("driver", "Driver; file is the only one", short="d", default="file",
                 choices=("file",)),
            many("driver-opts", "Option of the driver; kept and shown", metavar="KEY=VALUE",
                 kind=COMMAS),
            flag("env", "The second word names a variable that has the secret"),
            flag("ignore", "Do not mind a secret that exists"),
            many("label", "Attach a label", short="l", metavar="KEY=VALUE"),
            flag("replace", "Take the place of a secret of the same name"),
        ),
        (Argument("name"), Argument("file", metavar="FILE|-", objects=FILES)),
        description="Prints the secret's id. The secret is 1 to 511999 bytes, taken as they are.",
        examples=("rpod secret create db-password ./password",),
    ),
    Command(
        "secret ls",
        "List secrets",
        "secret:list_",
        (
            many("filter", "Show only what matches: name, id", short="f", metavar="KEY=VALUE",
                 kind=COMMAS),
            text("format", "json, or a Go template; `table ` before it adds headings",
                 metavar="FORMAT"),
            flag("noheading", "No headings", short="n"),
            flag("quiet", "Only ids", short="q"),
        ),
        aliases=("secret list",),
        examples=("rpod secret ls",),
    ),
    Command(
        "secret inspect",
        "Show everything about secrets but what they say",
        "secret:inspect",
        (
            text("format", "json or a Go template", short="f", default="json", metavar="FORMAT"),
            flag("pretty", "Print for people to read"),
            flag("showsecret", "Show also what the secret says"),
        ),
        (Argument("names", 1, UNLIMITED, "SECRET [SECRET...]", SECRETS),),
        examples=("rpod secret inspect db-password",),
    ),
    Command(
        "secret rm",
        "Remove one or more secrets",
        "secret:remove",
        (
            flag("all", "Every secret", short="a"),
            flag("ignore", "Do not mind one that is not there", short="i"),
        ),
        (Argument("names", 0, UNLIMITED, "SECRET [SECRET...]", SECRETS),),
        aliases=("secret remove",),
        description="Containers keep what they have been given.",
        examples=("rpod secret rm db-password",),
    ),
    Command(
        "secret exists",
        "Exit with 0 when a secret exists, with 1 when not",
        "secret:exists",
        (),
        (Argument("name", objects=SECRETS),),
        examples=("rpod secret exists db-password || echo missing",),
    ),
)  # fmt: skip
