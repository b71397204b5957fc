"""Tables are laid out as podman lays them out; --format prints rows."""

import json

import pytest

from rootless.cli.output import (
    Row,
    Table,
    format_table,
    print_formatted,
    printable,
    split_filters,
)
from rootless.cli.template import TemplateError
from rootless.errors import UsageError
from rootless.filters import passes

PODMAN_TABLE = """\
CONTAINER ID  NAMES       LABELS            COMMAND               PORTS
55e8c6a67c99  a           map[a:b foo:bar]  sleep 1000            
2a69b79adb3a  b           map[]             sh -c echo hello ...  
"""  # noqa: W291 - podman pads the cell before an empty last one
ROWS = [
    Row(
        {"ID": "55e8c6a67c99", "Names": "a", "Labels": {"foo": "bar", "a": "b"},
         "Command": "sleep 1000", "Ports": ""},
        {"Id": "55e8"},
    ),
    Row(
        {"ID": "2a69b79adb3a", "Names": "b", "Labels": {}, "Command": "sh -c echo hello ...",
         "Ports": ""},
        {"Id": "2a69"},
    ),
]  # fmt: skip
VALID = ("ID", "Names", "Labels", "Command", "Ports", "CreatedAt")
HEADINGS = {"ID": "CONTAINER ID"}


def show(capsys: pytest.CaptureFixture[str], text: str, rows: list[Row] = ROWS) -> str:
    print_formatted(rows, text, headings=HEADINGS, valid=VALID)
    return capsys.readouterr().out


def test_table_template_prints_what_podman_does(capsys: pytest.CaptureFixture[str]) -> None:
    text = r"table {{.ID}}\t{{.Names}}\t{{.Labels}}\t{{.Command}}\t{{.Ports}}"
    assert show(capsys, text) == PODMAN_TABLE


def test_table_template_takes_spaces_for_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    text = '{{.ID}} {{printf "%s x" .Names}}'
    expected = "CONTAINER ID  NAMES x\n55e8c6a67c99  a x\n2a69b79adb3a  b x\n"
    assert show(capsys, f"table {text}") == expected
    assert show(capsys, text) == "55e8c6a67c99 a x\n2a69b79adb3a b x\n"


def test_template_without_table_keeps_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(capsys, r"{{.ID}}\t{{.Names}}") == "55e8c6a67c99\ta\n2a69b79adb3a\tb\n"


def test_template_may_loop_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(capsys, r"{{range .}}{{.Names}};{{end}}") == "a;b;\n"


def test_table_headings_are_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(capsys, "table {{.CreatedAt}}", []) == "CREATED AT\n"


def test_json_is_one_array(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(show(capsys, "json")) == [{"Id": "55e8"}, {"Id": "2a69"}]


def test_json_of_nothing_is_an_empty_array(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(capsys, "json", []) == "[]\n"


@pytest.mark.parametrize("text", ["jsonl", "{{json .}}"])
def test_json_lines_are_one_document_each(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert show(capsys, text) == '{"Id":"55e8"}\n{"Id":"2a69"}\n'


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (ROWS, "{{.Bogus}}"),
        (ROWS, "table {{.Bogus}}"),
        ([], "{{.Bogus}}"),
        ([], "{{if .Names}}{{upper (.Bogus)}}{{end}}"),
    ],
    ids=["rows", "table", "nothing to list", "nested"],
)
def test_unknown_field_is_an_error_that_names_the_valid(rows: list[Row], text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        print_formatted(rows, text, headings=HEADINGS, valid=VALID)
    assert caught.value.message == 'template: no field "Bogus"'
    assert "Names" in caught.value.remedy


def test_columns_have_podmans_widths() -> None:
    assert format_table([("REPOSITORY", "TAG", "SIZE"), ("localhost/bb", "x", "2 MB")]) == (
        "REPOSITORY    TAG         SIZE\nlocalhost/bb  x           2 MB\n"
    )


def test_narrow_terminal_cuts_elastic_columns_only() -> None:
    lines = [
        ("CONTAINER ID", "IMAGE", "NAMES"),
        ("0123456789ab", "registry.example/" + "x" * 40, "n"),
    ]
    text = format_table(lines, width=50, elastic=[1])
    assert max(len(line) for line in text.splitlines()) <= 50
    assert "0123456789ab" in text
    assert "\u2026" in text


def test_wide_terminal_cuts_nothing() -> None:
    lines = [("A", "B"), ("x" * 30, "y")]
    assert format_table(lines, width=200, elastic=[0]) == format_table(lines)


@pytest.mark.parametrize(
    ("text", "shown"), [("plain \u00e9", "plain \u00e9"), ("\x1b[31mred\n", r"\x1b[31mred\n")]
)
def test_cells_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_table_without_headings(capsys: pytest.CaptureFixture[str]) -> None:
    Table(("A", False), ("B", False)).print([("a", "b")], noheading=True)
    assert capsys.readouterr().out == "a           b\n"


def test_split_filters_takes_negated_labels() -> None:
    found = split_filters(["label!=a=b", "name=x"], ("label!", "name"), "container")
    assert found == [("label!", "a=b"), ("name", "x")]


@pytest.mark.parametrize("text", ["bogus=1", "name", ""])
def test_split_filters_names_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_filters([text], ("name", "id"), "container")
    assert caught.value.message == f'unsupported container filter "{text}"'
    assert "name=" in caught.value.remedy


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], True),
        ([("name", "a"), ("name", "b")], True),
        ([("name", "b"), ("id", "a")], False),
        ([("label", "a"), ("label", "b")], False),
    ],
    ids=["none", "same key is or", "other keys are and", "labels are and"],
)
def test_passes_combines_filters(filters: list[tuple[str, str]], expected: bool) -> None:
    assert passes(filters, lambda _key, value: value == "a") is expected
