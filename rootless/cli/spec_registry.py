"""Commands that send to registries."""

from rootless.cli.table import DIRECTORIES, FILES, IMAGES, Argument, Command, flag, number, text

COMMANDS = (
    Command(
        "push",
        "Send an image to a registry",
        "registry:push",
        (
            text("authfile", "File with registry credentials", metavar="FILE", objects=FILES),
            text("cert-dir", "Directory with certificates of authorities to trust", metavar="DIR",
                 objects=DIRECTORIES),
            text("creds", "Credentials for the registry", metavar="USER:PASSWORD"),
            text("digestfile", "File to write the image's digest to", metavar="FILE",
                 objects=FILES),
            flag("quiet", "No progress", short="q"),
            number("retry", "Tries after a failure", default=3),
            text("retry-delay", "Time between tries; doubles each time", default="2s",
                 metavar="DURATION"),
            flag("tls-verify", "Demand HTTPS and a certificate that can be verified",
                 default=None),
        ),
        (
            Argument("image", objects=IMAGES),
            Argument("destination", 0, 1, "[DESTINATION]"),
        ),
        aliases=("image push",),
        description="DESTINATION is HOST/NAME[:TAG], also after docker://; without it the image "
        "goes where its name says. Manifest and layers are sent as they are stored, so the digest "
        "of an image that was pulled stays. What the registry has is not sent again.",
        examples=(
            "rpod push registry.example.org/team/app:1",
            "rpod push --digestfile digest localhost/app registry.example.org/team/app:1",
        ),
    ),
)  # fmt: skip
