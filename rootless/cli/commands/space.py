"""system df, system prune: what the store takes up, and making room."""

import time

from rootless.cli.output import Row, Table, print_formatted, write
from rootless.errors import UsageError
from rootless.human import ago_text, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.containers import ContainerView
    from storage.usage import Category, StoreUsage

_FIELDS = (
    "Type", "Total", "Active", "Size", "Reclaimable", "Inodes", "RawSize", "RawReclaimable",
    "TotalCount",
)  # fmt: skip
_SHORT_ID = 12
_FILTERS = ("until", "label", "label!")


def df(invocation: "Invocation") -> int:
    """Show how much of the disk is taken up."""
    from rootless.container.space import usage

    text = invocation.text("format")
    if invocation.flag("verbose") and text:
        raise UsageError("--format and --verbose do not go together")
    found, views = usage(invocation.host())
    if invocation.flag("verbose"):
        _print_verbose(found, views)
        return 0
    rows = _rows(found)
    if not text or text == "table":
        columns = ("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE", "INODES")
        keys = ("Type", "Total", "Active", "Size", "Reclaimable", "Inodes")
        Table(*((name, False) for name in columns)).print(
            [tuple(str(row[key]) for key in keys) for row in rows], noheading=False
        )
        return 0
    print_formatted(rows, text, headings={}, valid=_FIELDS)
    return 0


def _rows(found: "StoreUsage") -> list[Row]:
    kinds = (
        ("Images", found.images),
        ("Containers", found.containers),
        ("Local Volumes", found.volumes),
        ("Build Cache", found.build_cache),
        # Arrived parts of downloads, what is being built or removed, records and locks.
        ("Other", found.other),
    )
    return [_row(name, category) for name, category in kinds]


def _row(name: str, category: "Category") -> Row:
    size_bytes, inodes = category.space
    reclaimable_bytes = category.reclaimable.size_bytes
    percent = round(100 * reclaimable_bytes / size_bytes) if size_bytes else 0
    fields: dict[str, object] = {
        "Type": name,
        "Total": category.total,
        "TotalCount": category.total,
        "Active": category.active,
        "Size": _size(size_bytes),
        "Reclaimable": f"{_size(reclaimable_bytes)} ({percent}%)",
        "Inodes": inodes,
        "RawSize": size_bytes,
        "RawReclaimable": reclaimable_bytes,
    }
    return Row(fields, fields)


def _size(size_bytes: int) -> str:
    return size_text(size_bytes).replace(" ", "")


def _print_verbose(found: "StoreUsage", views: "list[ContainerView]") -> None:
    now_s = time.time()
    write("Images space usage:\n\n")
    _table(
        "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE",
        "CONTAINERS", "INODES",
    )(_image_lines(found, now_s))  # fmt: skip
    write("\nContainers space usage:\n\n")
    _table(
        "CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES",
        "INODES",
    )([_container_line(view, found, now_s) for view in views])  # fmt: skip
    write("\nLocal Volumes space usage:\n\n")
    links = _links(views)
    _table("VOLUME NAME", "LINKS", "SIZE", "INODES")(
        [
            (name, str(links.get(name, 0)), _size(space.size_bytes), str(space.inodes))
            for name, space in sorted(found.volume_spaces.items())
        ]
    )
    _print_other(found)


def _print_other(found: "StoreUsage") -> None:
    other, everything = found.other.space, found.total
    write(
        f"\nOther (downloads that were interrupted, work in progress, records):"
        f" {_size(other.size_bytes)}, {other.inodes} inodes\n"
        f"All of the store: {_size(everything.size_bytes)}, {everything.inodes} inodes\n"
    )


def _table(*columns: str) -> "Callable[[list[tuple[str, ...]]], None]":
    table = Table(*((name, False) for name in columns))
    return lambda lines: table.print(lines, noheading=False)


def _image_lines(found: "StoreUsage", now_s: float) -> list[tuple[str, ...]]:
    from rootless.image_filters import NONE, split_name

    lines: list[tuple[str, ...]] = []
    for space in found.image_spaces:
        record = space.record
        unique_bytes = space.total.size_bytes - space.shared.size_bytes
        for name in record.names or ("",):
            repository, tag = split_name(name) if name else (NONE, NONE)
            lines.append(
                (
                    repository,
                    tag,
                    record.image_id[:_SHORT_ID],
                    ago_text(record.created, now_s).removesuffix(" ago"),
                    _size(space.total.size_bytes),
                    _size(space.shared.size_bytes),
                    _size(unique_bytes),
                    str(len(space.containers)),
                    str(space.total.inodes),
                )
            )
    return lines


def _container_line(view: "ContainerView", found: "StoreUsage", now_s: float) -> tuple[str, ...]:
    from storage.usage import Space

    record = view.record
    space: Space = found.container_spaces.get(record.id, Space())
    return (
        record.id[:_SHORT_ID],
        record.image_id[:_SHORT_ID],
        " ".join(record.command),
        str(len(_volumes_of(view))),
        _size(space.size_bytes),
        ago_text(record.created_at, now_s).removesuffix(" ago"),
        view.status,
        record.name,
        str(space.inodes),
    )


def _volumes_of(view: "ContainerView") -> list[str]:
    return [
        str(mount["name"])
        for mount in view.record.mounts
        if mount.get("type") == "volume" and mount.get("name")
    ]


def _links(views: "list[ContainerView]") -> dict[str, int]:
    links: dict[str, int] = {}
    for view in views:
        for name in set(_volumes_of(view)):
            links[name] = links.get(name, 0) + 1
    return links


def prune(invocation: "Invocation") -> int:
    """Remove all that nothing uses."""
    from rootless.cli.commands.selection import exit_code
    from rootless.cli.output import confirm, split_filters
    from rootless.container.space import total

    wants_all, volumes = invocation.flag("all"), invocation.flag("volumes")
    texts = invocation.texts("filter")
    split_filters(texts, _FILTERS, "prune")
    build = wants_all or invocation.flag("build")
    if not invocation.flag("force") and not confirm(_warning(wants_all, volumes, build=build)):
        return 0
    host = invocation.host()
    before = total(host)
    errors = _prune_containers(host, texts)
    errors += _prune_networks(host, texts)
    errors += _prune_volumes(host) if volumes else []
    errors += _prune_images(host, texts, wants_all=wants_all)
    if not texts:
        from rootless.container.space import prune_build_cache, prune_loose_steps

        gone = prune_build_cache(host, None) if build else prune_loose_steps(host)
        _say_gone("Build Cache", gone)
    after = total(host)
    write(f"Total reclaimed space: {_size(max(0, before.size_bytes - after.size_bytes))}\n")
    return exit_code(errors)


def prune_builder(invocation: "Invocation") -> int:
    """Remove what builds keep, all of it or what has not been used for some time."""
    from rootless.cli.output import confirm, split_filters
    from rootless.container.moments import parse_duration
    from rootless.container.space import prune_build_cache, total

    filters = split_filters(invocation.texts("filter"), ("until",), "builder prune")
    since_s = None
    for _, text in filters:
        seconds = parse_duration(text)
        if seconds is None or seconds < 0:
            raise UsageError(f"--filter until={text}: a duration such as 24h is expected")
        since_s = time.time() - seconds
    warning = "WARNING! This command removes:\n\t- what builds keep, so that they take longer\n"
    if not invocation.flag("force") and not confirm(warning):
        return 0
    host = invocation.host()
    before = total(host)
    _say_gone("Build Cache", prune_build_cache(host, since_s))
    after = total(host)
    write(f"Total reclaimed space: {_size(max(0, before.size_bytes - after.size_bytes))}\n")
    return 0


def _warning(wants_all: bool, volumes: bool, *, build: bool) -> str:
    lines = ["all stopped containers", "all networks not used by at least one container"]
    if volumes:
        lines.append("all volumes not used by at least one container")
    lines.append(
        "all images without at least one container associated with them"
        if wants_all
        else "all dangling images"
    )
    lines.append("all build cache" if build else "build cache that no image has")
    return "WARNING! This command removes:" + "".join(f"\n\t- {line}" for line in lines) + "\n"


def _prune_containers(host: "Host", texts: tuple[str, ...]) -> list[Exception]:
    from rootless.cli.commands.container import is_idle
    from rootless.cli.commands.selection import for_each
    from rootless.container import ending
    from rootless.container.query import filter_views, list_views
    from storage.errors import ContainerNotFound

    views = [view for view in list_views(host, all_states=True) if is_idle(view)]
    gone: list[str] = []

    def remove_one(container_id: str) -> None:
        try:
            ending.remove(host, container_id, volumes=True)
        except ContainerNotFound:
            return
        gone.append(container_id)

    errors = for_each([view.record.id for view in filter_views(views, texts)], remove_one)
    _say_gone("Containers", gone)
    return errors


def _prune_networks(host: "Host", texts: tuple[str, ...]) -> list[Exception]:
    from rootless.cli.commands.network import prune_networks
    from rootless.cli.output import split_filters

    gone, errors = prune_networks(host, split_filters(texts, _FILTERS, "prune"))
    _say_gone("Networks", gone)
    return errors


def _prune_volumes(host: "Host") -> list[Exception]:
    from rootless.cli.commands.selection import for_each
    from rootless.cli.commands.volume import remove_one_volume
    from storage.volumes import list_volumes, volume_users

    users = volume_users(host.layout)
    gone: list[str] = []

    def remove_one(name: str) -> None:
        remove_one_volume(host, name, is_prune=True)
        gone.append(name)

    unused = [record.name for record in list_volumes(host.layout) if record.name not in users]
    errors = for_each(unused, remove_one)
    _say_gone("Volumes", gone)
    return errors


def _prune_images(host: "Host", texts: tuple[str, ...], *, wants_all: bool) -> list[Exception]:
    from rootless.cli.commands.image import prune_images
    from rootless.cli.output import split_filters

    gone, errors = prune_images(host, split_filters(texts, _FILTERS, "prune"), wants_all=wants_all)
    _say_gone("Images", gone)
    return errors


def _say_gone(what: str, gone: list[str]) -> None:
    if gone:
        write(f"Deleted {what}\n" + "".join(f"{one}\n" for one in gone))
