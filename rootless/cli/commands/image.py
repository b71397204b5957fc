"""Commands that bring, name and remove images."""

import sys

from rootless import images
from rootless.cli.commands.selection import exit_code, for_each, removal_exit_code
from rootless.cli.progress import Reporter
from rootless.errors import UsageError
from storage.errors import ImageNotFound
from storage.images import find_image, image_users, list_images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from storage.images import ImageRecord
    from storage.registry.options import PullOptions
    from storage.registry.platform import Platform


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def pull(invocation: "Invocation") -> int:
    """Fetch images; the id of each is the result."""
    host = invocation.host()
    options, platform = pull_options(invocation), chosen_platform(invocation)

    def pull_one(name: str) -> None:
        with Reporter(quiet=invocation.flag("quiet")) as events:
            record = images.pull(
                host,
                name,
                options=options,
                platform=platform,
                policy=invocation.text("policy"),
                events=events,
            )
        _say(record.image_id)

    return exit_code(for_each(invocation.texts("images"), pull_one))


def pull_options(invocation: "Invocation") -> "PullOptions":
    """Return how to talk to the registry. Raises UsageError."""
    from rootless.cli.human import parse_duration
    from storage.registry.options import Credentials, PullOptions

    credentials = None
    if text := invocation.text("creds"):
        user, _, password = text.partition(":")
        if not password:
            password = _ask_password(user)
        credentials = Credentials(user, password)
    delay_s = parse_duration(invocation.text("retry_delay"))
    if delay_s is None or delay_s < 0:
        raise UsageError(
            f"--retry-delay: {invocation.text('retry_delay')!r} is no duration", remedy="say 2s"
        )
    verify = invocation.value("tls_verify")
    return PullOptions(
        tls_verify=None if verify is None else bool(verify),
        ca_dir=invocation.text("cert_dir") or None,
        credentials=credentials,
        authfile=invocation.text("authfile") or None,
        retries=max(0, invocation.number("retry") or 0),
        retry_delay_s=delay_s,
    )


def _ask_password(user: str) -> str:
    import getpass
    import os

    if not os.isatty(0):
        raise UsageError(
            f"--creds {user}: the password is missing", remedy="give --creds USER:PASSWORD"
        )
    return getpass.getpass(f"Password for {user}: ")


def chosen_platform(invocation: "Invocation") -> "Platform | None":
    """Return the platform that the options name, None for this host's. Raises UsageError."""
    from storage.registry.platform import host_platform, parse_platform

    arch, system, variant = (invocation.text(name) for name in ("arch", "os", "variant"))
    if text := str(invocation.given.get("platform", "")):
        if arch or system or variant:
            raise UsageError("--platform and --arch, --os or --variant do not go together")
        return parse_platform(text)
    if not (arch or system or variant):
        return None
    own = host_platform()
    chosen = f"{system or own.os}/{arch or own.architecture}"
    return parse_platform(f"{chosen}/{variant}" if variant else chosen)


def load(invocation: "Invocation") -> int:
    """Load the images of an archive."""
    import os

    path = invocation.text("input")
    if not path and os.isatty(0):
        raise UsageError(
            "cannot read from terminal, use command-line redirection or the --input flag",
            remedy="rpod load -i FILE",
        )
    with Reporter(quiet=invocation.flag("quiet")) as events:
        records = images.load(invocation.host(), path or None, events)
    for record in records:
        _say(f"Loaded image: {record.names[0] if record.names else record.image_id}")
    return 0


def import_(invocation: "Invocation") -> int:
    """Make an image from a plain root file system."""
    with Reporter(quiet=invocation.flag("quiet")) as events:
        record = images.import_image(
            invocation.host(),
            invocation.text("path"),
            reference=invocation.text("reference") or None,
            changes=invocation.texts("change"),
            message=invocation.text("message"),
            platform=chosen_platform(invocation),
            events=events,
        )
    _say(f"sha256:{record.image_id}")
    return 0


def remove(invocation: "Invocation") -> int:
    """Remove images, or names of them."""
    host = invocation.host()
    names = list(invocation.texts("images"))
    wants_all = invocation.flag("all")
    force = invocation.flag("force")
    if wants_all and names:
        raise UsageError("--all and names of images do not go together")
    if not names and not wants_all:
        raise UsageError("image name or ID must be specified")
    if wants_all:
        names = [record.image_id for record in list_images(host.layout)]

    def remove_one(name: str) -> None:
        try:
            result = images.remove(host, name, force=force or wants_all)
        except ImageNotFound:
            if invocation.flag("ignore") or force or wants_all:
                return
            raise
        for one in result.untagged:
            _say(f"Untagged: {one}")
        for one in result.deleted:
            _say(f"Deleted: {one}")

    return removal_exit_code(for_each(names, remove_one))


def tag(invocation: "Invocation") -> int:
    """Give an image further names."""
    images.tag(invocation.host(), invocation.text("image"), invocation.texts("names"))
    return 0


def untag(invocation: "Invocation") -> int:
    """Take names from an image."""
    images.untag(invocation.host(), invocation.text("image"), invocation.texts("names"))
    return 0


def exists(invocation: "Invocation") -> int:
    """Say by the exit code whether an image exists."""
    try:
        find_image(invocation.host().layout, invocation.text("image"))
    except ImageNotFound:
        return 1
    return 0


def prune(invocation: "Invocation") -> int:
    """Remove images that nothing needs."""
    from rootless.cli.commands.image_filters import passes_filters
    from rootless.cli.output import confirm, split_filters

    wants_all = invocation.flag("all")
    pairs = split_filters(invocation.texts("filter"), ("until", "label", "label!"), "prune")
    if not invocation.flag("force"):
        what = "images without at least one container" if wants_all else "dangling images"
        if not confirm(f"WARNING! This command removes all {what} from the store."):
            return 0
    host = invocation.host()
    records = list_images(host.layout)

    def is_unneeded(record: "ImageRecord") -> bool:
        if not wants_all and record.names:
            return False
        if image_users(host.layout, record):
            return False
        return passes_filters(host.layout, record, pairs)

    def remove_one(name: str) -> None:
        for one in images.remove(host, name, force=True).deleted:
            _say(one)

    chosen = [record.image_id for record in records if is_unneeded(record)]
    return exit_code(for_each(chosen, remove_one))
