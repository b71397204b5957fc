"""search: repositories and tags of registries."""

from rootless.cli.commands.image import registry_settings
from rootless.cli.output import Row, Table, print_formatted, split_filters
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from storage.errors import RegistryError
    from storage.registry.search import Found

_FIELDS = ("Index", "Name", "Description", "Stars", "Official", "Automated", "Tag")
_FILTERS = ("is-automated", "is-official", "stars")
_DESCRIPTION = 44
_OK = "[OK]"


def search(invocation: "Invocation") -> int:
    """Search registries, or list the tags of one repository."""
    term = invocation.text("term")
    limit = invocation.number("limit") or 0
    if limit < 0:
        raise UsageError(f"--limit: {limit} is not a number of results")
    if invocation.flag("list_tags"):
        return _list_tags(invocation, term, limit)
    from rootless.cli.reporting import report
    from rootless.finding import search as find

    pairs = split_filters(invocation.texts("filter"), _FILTERS, "search")

    def tell(error: "RegistryError") -> None:
        report(error)

    settings = registry_settings(invocation)
    found = find(invocation.host(), term, settings, limit=limit, on_failure=tell)
    rows = [
        _row(one, full=invocation.flag("no_trunc"))
        for one in found
        if all(_passes(one, key, value) for key, value in pairs)
    ]
    text = invocation.text("format")
    if text:
        print_formatted(rows, text, headings={}, valid=_FIELDS, indent=4)
    elif rows:
        keys = ["Name", "Description"]
        if invocation.flag("compatible"):
            keys += ["Stars", "Official", "Automated"]
        lines = [tuple(str(row[key]) for key in keys) for row in rows]
        Table(*((key.upper(), False) for key in keys)).print(lines, noheading=False)
    return 0


def _row(one: "Found", *, full: bool) -> Row:
    description = " ".join(one.description.split())
    if not full and len(description) > _DESCRIPTION:
        description = f"{description[:_DESCRIPTION]}..."
    fields: dict[str, object] = {
        "Index": one.registry,
        "Name": one.name,
        "Description": description,
        "Stars": one.stars,
        "Official": _OK if one.is_official else "",
        "Automated": _OK if one.is_automated else "",
        "Tag": "",
    }
    return Row(fields, fields)


def _passes(one: "Found", key: str, value: str) -> bool:
    if key == "stars":
        if not value.isdecimal():
            raise UsageError(f"search filter stars: {value!r} is not a number")
        return one.stars >= int(value)
    from rootless.cli.fast import parse_bool

    try:
        wanted = parse_bool(value or "true")
    except ValueError as error:
        raise UsageError(f"search filter {key}: {error}") from error
    return wanted == (one.is_official if key == "is-official" else one.is_automated)


def _list_tags(invocation: "Invocation", term: str, limit: int) -> int:
    from rootless.finding import tags

    if invocation.texts("filter"):
        raise UsageError("filters are not applicable to list tags result")
    name, found = tags(invocation.host(), term, registry_settings(invocation))
    found = found[:limit] if limit else found
    text = invocation.text("format")
    if text == "json":
        from rootless.cli.output import write_json

        write_json([{"Name": name, "Tags": found}], indent=4)
    elif text:
        empty: dict[str, object] = dict.fromkeys(_FIELDS, "")
        rows = [Row({**empty, "Name": name, "Tag": tag}, None) for tag in found]
        print_formatted(rows, text, headings={}, valid=_FIELDS)
    elif found:
        lines = [(name, tag) for tag in found]
        Table(("NAME", False), ("TAG", False)).print(lines, noheading=False)
    return 0
