"""What commands print: tables as podman prints them, JSON, templates.

Only standard output is written here; errors and notes go through `rootless.cli.main`.
"""

import os
import sys

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# text/tabwriter as podman sets it up: columns of at least 12, two spaces between them.
_MIN_COLUMN = 12
_PADDING = 2
_NARROWEST = 12


class Row(dict[str, object]):
    """The fields that a template sees; `document` is what json prints."""

    __slots__ = ("document",)

    def __init__(self, fields: "Mapping[str, object]", document: object) -> None:
        super().__init__(fields)
        self.document = document


def write(text: str) -> None:
    """Write text to standard output."""
    sys.stdout.write(text)


def write_json(value: object, *, indent: int = 5) -> None:
    """Print a document; podman's inspect indents by five."""
    import json

    write(json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def printable(text: str) -> str:
    """Return text that cannot steer a terminal: names and labels come from strangers."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def terminal_width() -> int:
    """Return the columns of the terminal on standard output, 0 when it is none."""
    try:
        return os.get_terminal_size(1).columns if os.isatty(1) else 0
    except OSError:
        return 0


def format_table(
    lines: "Sequence[Sequence[str]]", *, width: int = 0, elastic: "Sequence[int]" = ()
) -> str:
    """Lay out lines of cells; with a `width` the `elastic` columns are cut until it fits."""
    if not lines:
        return ""
    cells = [[printable(cell) for cell in line] for line in lines]
    longest = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    last = len(longest) - 1
    widths = [max(_MIN_COLUMN, size + _PADDING) for size in longest[:-1]]
    if width and sum(widths) + longest[last] > width:
        shown = _squeeze(longest, width - _PADDING * last, elastic)
        cells = [[_cut(cell, shown[at]) for at, cell in enumerate(line)] for line in cells]
        widths = [size + _PADDING for size in shown[:-1]]
    widths.append(0)
    return "".join(
        "".join(cell.ljust(widths[at]) for at, cell in enumerate(line)) + "\n" for line in cells
    )


def _squeeze(longest: list[int], room: int, elastic: "Sequence[int]") -> list[int]:
    """Return column sizes that fit in `room`, taken from the widest elastic columns."""
    shown = list(longest)
    while elastic and sum(shown) > room:
        widest = max(elastic, key=lambda column: shown[column])
        if shown[widest] <= _NARROWEST:
            break
        shown[widest] -= 1
    return shown


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "\u2026"


class Table:
    """The default table of a listing: `columns` are (heading, elastic)."""

    __slots__ = ("columns",)

    def __init__(self, *columns: "tuple[str, bool]") -> None:
        self.columns = columns

    def print(
        self, lines: "Iterable[Sequence[str]]", *, noheading: bool, full: bool = False
    ) -> None:
        """Print the lines; `full` keeps every cell as it is."""
        everything: list[Sequence[str]] = [] if noheading else [[name for name, _ in self.columns]]
        everything.extend(lines)
        elastic = [at for at, (_, stretch) in enumerate(self.columns) if stretch]
        write(format_table(everything, width=0 if full else terminal_width(), elastic=elastic))


def print_formatted(
    rows: "Sequence[Row]",
    text: str,
    *,
    headings: "Mapping[str, str]",
    valid: "Sequence[str]",
    noheading: bool = False,
    indent: int = 2,
) -> None:
    """Print rows by --format: json, jsonl, or a Go template with or without `table `.

    Raises TemplateError; `valid` names the fields that a row has.
    """
    if text == "json":
        write_json([row.document for row in rows], indent=indent)
    elif text == "jsonl":
        import json

        for row in rows:
            write(json.dumps(row.document, separators=(",", ":"), ensure_ascii=False) + "\n")
    else:
        _print_template(rows, text, headings, valid, noheading=noheading)


def _print_template(
    rows: "Sequence[Row]",
    text: str,
    headings: "Mapping[str, str]",
    valid: "Sequence[str]",
    *,
    noheading: bool,
) -> None:
    from rootless.cli.template import Template, check_fields

    is_table = text.startswith("table ")
    source = _with_tabs(text.removeprefix("table ").strip()) if is_table else text
    template = Template(source)
    # A wrong field is an error also when there is nothing to list.
    check_fields(template, valid)
    if _ranges(source):
        # The template loops by itself, over the whole list.
        body = template.render(list(rows))
    else:
        body = "".join(_line(template.render(row)) for row in rows)
    if not is_table:
        write(_line(body) if _ranges(source) and body else body)
        return
    lines = body.splitlines()
    if not noheading:
        names: dict[str, object] = {name: headings.get(name, _heading(name)) for name in valid}
        names["Label"] = str
        title = template.render([names] if _ranges(source) else names)
        lines = [*title.splitlines(), *lines]
    write(_tabulate(lines))


def _with_tabs(source: str) -> str:
    """Make spaces between the actions of a table's template columns, as podman does."""
    first, *others = source.split("{{")
    pieces = [first.replace(" ", "\t")]
    for other in others:
        action, end, rest = other.partition("}}")
        pieces.append(f"{action}{end}" + rest.replace(" ", "\t"))
    return "{{".join(pieces)


def _line(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _ranges(source: str) -> bool:
    return source.startswith(("{{range", "{{ range", "{{- range"))


def _heading(name: str) -> str:
    """Return CREATED AT for CreatedAt."""
    words = ""
    for at, letter in enumerate(name):
        if at and letter.isupper() and not name[at - 1].isupper():
            words += " "
        words += letter
    return words.upper()


def _tabulate(lines: "Sequence[str]") -> str:
    """Align cells between tabs as Go's tabwriter does."""
    split = [line.split("\t") for line in lines]
    most = max((len(cells) for cells in split), default=0)
    padded = [[*cells, *[""] * (most - len(cells))] for cells in split]
    return format_table(padded)


def print_documents(documents: "Sequence[object]", text: str) -> None:
    """Print what inspect found: the whole array as json, else each by a template."""
    if text in ("", "json"):
        write_json(list(documents))
        return
    from rootless.cli.template import Template

    template = Template(text.removeprefix("table "))
    for document in documents:
        write(_line(template.render(document)))


def split_filters(
    texts: "Iterable[str]", known: "Iterable[str]", what: str
) -> list[tuple[str, str]]:
    """Split KEY=VALUE filters and check the keys. Raises UsageError."""
    pairs: list[tuple[str, str]] = []
    names = tuple(known)
    for text in texts:
        key, separator, value = text.partition("=")
        if key.endswith("!"):
            key = f"{key[:-1].strip()}!"
        key = key.strip()
        if not separator or key not in names:
            raise UsageError(
                f'unsupported {what} filter "{text}"',
                remedy=f"filters: {', '.join(f'{name}=' for name in names)}",
            )
        pairs.append((key, value))
    return pairs


def confirm(question: str) -> bool:
    """Ask on the terminal. Raises UsageError when there is nobody to answer."""
    sys.stdout.write(f"{question}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stdout.write("\n")
        raise UsageError(
            "nothing was removed: no answer, standard input has ended",
            remedy="--force does not ask",
        )
    return answer.strip().lower() in ("y", "yes")
