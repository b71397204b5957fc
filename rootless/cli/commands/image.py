"""Commands that bring, name and remove images."""

import sys

from rootless import archives, images, naming
from rootless.cli.commands.selection import exit_code, for_each, removal_exit_code
from rootless.cli.progress import Reporter
from rootless.errors import UsageError
from storage.errors import ImageNotFound, InUse
from storage.images import find_entry, image_users, list_entries
from storage.transports import is_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.images import ImageRecord


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def pull(invocation: "Invocation") -> int:
    """Fetch images; the id of each is the result."""
    host = invocation.host()
    chosen: dict[str, str] = {}
    settings = pull_settings(invocation)
    if sys.stdin.isatty() and sys.stdout.isatty():
        settings = settings._replace(choose=lambda name, full: _choose(name, full, chosen))
    names = list(invocation.texts("images"))
    if invocation.flag("all_tags"):
        names = [tagged for name in names for tagged in _all_tags(host, name, settings)]

    def pull_one(name: str) -> None:
        with Reporter(quiet=invocation.flag("quiet")) as on_event:
            if is_source(name):
                records = images.load_source(host, name, on_event, platform=settings.platform)
            else:
                records = [images.obtain(host, name, settings, on_event)]
        if name in chosen:
            from rootless.shortnames import remember

            remember(name, chosen[name], host.environ)
        for record in records:
            _say(record.image_id)

    return exit_code(for_each(names, pull_one))


def _choose(name: str, full_names: list[str], chosen: dict[str, str]) -> int:
    """Ask which image a short name means."""
    listed = "".join(f"  {number}  {one}\n" for number, one in enumerate(full_names, 1))
    sys.stderr.write(f"{name!r} may be one of these:\n{listed}Number: ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip()
    if not answer.isdecimal() or not 1 <= int(answer) <= len(full_names):
        raise UsageError(f"{name}: no image was chosen", remedy="write the full name")
    chosen[name] = full_names[int(answer) - 1]
    return int(answer) - 1


def _all_tags(host: "Host", name: str, settings: images.PullSettings) -> list[str]:
    from rootless.finding import tags
    from storage.reference import parse_reference

    if is_source(name) or parse_reference(name).digest or ":" in name.rpartition("/")[2]:
        raise UsageError(
            f"--all-tags: {name!r} must be a repository, without tag or digest",
            remedy="leave the tag out",
        )
    repository, found = tags(host, name, settings)
    if not found:
        raise ImageNotFound(f"{repository} has no tags")
    return [f"{repository}:{tag}" for tag in found]


def pull_settings(invocation: "Invocation") -> images.PullSettings:
    """Return how to fetch an image. Raises UsageError."""
    return registry_settings(invocation)._replace(
        pull=invocation.text("policy"), platform=chosen_platform(invocation)
    )


def registry_settings(invocation: "Invocation") -> images.PullSettings:
    """Return how to talk to a registry. Raises UsageError."""
    from rootless.container.moments import parse_duration

    delay = invocation.text("retry_delay")
    delay_s = parse_duration(delay)
    if delay_s is None or delay_s < 0:
        raise UsageError(f"--retry-delay: {delay!r} is no duration", remedy="say 2s")
    creds = invocation.text("creds")
    if creds and ":" not in creds:
        creds = f"{creds}:{_ask_password(creds)}"
    verify = invocation.value("tls_verify")
    return images.PullSettings(
        tls_verify=None if verify is None else bool(verify),
        authfile=invocation.text("authfile") or None,
        creds=creds or None,
        ca_dir=invocation.text("cert_dir") or None,
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


def chosen_platform(invocation: "Invocation") -> str | None:
    """Return the platform that the options name, None for this host's. Raises UsageError."""
    arch, system, variant = (invocation.text(name) for name in ("arch", "os", "variant"))
    return images.join_platform(invocation.text("platform"), arch, system, variant)


def load(invocation: "Invocation") -> int:
    """Load the images of an archive."""
    import os

    path = invocation.text("input")
    if not path and os.isatty(0):
        raise UsageError(
            "cannot read from terminal, use command-line redirection or the --input flag",
            remedy="rpod load -i FILE",
        )
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        records = images.load(invocation.host(), path or None, on_event)
    for record in records:
        for name in record.names or (f"sha256:{record.image_id}",):
            _say(f"Loaded image: {name}")
    return 0


def import_(invocation: "Invocation") -> int:
    """Make an image from a plain root file system."""
    path = invocation.text("path")
    changes = None
    if invocation.texts("change"):
        from rootless.build.changes import parse_changes

        changes = parse_changes(invocation.texts("change"))
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        record = archives.import_image(
            invocation.host(),
            None if path == "-" else path,
            invocation.text("reference") or None,
            changes=changes,
            message=invocation.text("message"),
            platform=images.join_platform(
                None, *(invocation.text(key) for key in ("arch", "os", "variant"))
            ),
            on_event=on_event,
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
        names = [record.image_id for record in list_entries(host.layout) if not record.store]

    gone: list[str] = []

    def remove_one(name: str) -> None:
        try:
            if force:
                _remove_containers(host, name)
            result = naming.remove(host, name, force=force or wants_all)
        except ImageNotFound as error:
            if invocation.flag("ignore") or force or wants_all:
                return
            raise ImageNotFound(f"{name}: image not known") from error
        for one in result.untagged:
            _say(f"Untagged: {one}")
        for one in result.deleted:
            _say(f"Deleted: {one}")
            gone.append(one)

    errors = for_each(names, remove_one)
    if gone:
        images.collect(host)
    return removal_exit_code(errors)


def _remove_containers(host: "Host", name: str) -> None:
    """Remove the containers of an image that is about to go with this name."""
    from rootless.container.ending import remove as remove_container

    record = find_entry(host.layout, name, all_names=True)
    # A name of several is only taken away; the image and its containers stay.
    if len(record.names) > 1 and not record.image_id.startswith(name.removeprefix("sha256:")):
        return
    for container_id in image_users(host.layout, record):
        remove_container(host, container_id, force=True, volumes=True)


def tag(invocation: "Invocation") -> int:
    """Give an image further names."""
    naming.tag(invocation.host(), invocation.text("image"), list(invocation.texts("names")))
    return 0


def untag(invocation: "Invocation") -> int:
    """Take names from an image."""
    naming.untag(invocation.host(), invocation.text("image"), list(invocation.texts("names")))
    return 0


def exists(invocation: "Invocation") -> int:
    """Say by the exit code whether an image exists."""
    try:
        find_entry(invocation.host().layout, invocation.text("image"))
    except ImageNotFound:
        return 1
    return 0


def prune(invocation: "Invocation") -> int:
    """Remove images that nothing needs."""
    from rootless.cli.output import confirm, split_filters

    wants_all = invocation.flag("all")
    pairs = split_filters(invocation.texts("filter"), ("until", "label", "label!"), "prune")
    if not invocation.flag("force"):
        what = "images without at least one container" if wants_all else "dangling images"
        if not confirm(f"WARNING! This command removes all {what} from the store."):
            return 0
    gone, errors = prune_images(invocation.host(), pairs, wants_all=wants_all)
    for one in gone:
        _say(one)
    return exit_code(errors)


def prune_images(
    host: "Host", pairs: "list[tuple[str, str]]", *, wants_all: bool
) -> "tuple[list[str], list[Exception]]":
    """Remove images without a name, or without a container; return their ids, and what failed."""
    from rootless.image_filters import passes_filters

    def is_unneeded(record: "ImageRecord") -> bool:
        if record.store or (not wants_all and record.names):
            return False
        if image_users(host.layout, record):
            return False
        return passes_filters(host.layout, record, pairs)

    gone: list[str] = []

    def remove_one(name: str) -> None:
        try:
            done = naming.remove(host, name, force=True, unnamed=not wants_all)
            gone.extend(done.deleted)
        except (ImageNotFound, InUse):
            # Another command was faster, or began to use it just now.
            return

    # By the manifest: another one with a name may share the configuration, and so the id.
    chosen = [record.manifest_digest for record in list_entries(host.layout) if is_unneeded(record)]
    errors = for_each(chosen, remove_one)
    # Also what interrupted pulls have left goes now.
    images.collect(host, copies=True)
    return gone, errors
