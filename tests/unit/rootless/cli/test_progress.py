"""Progress is bars on a terminal and lines elsewhere."""

import pytest

from rootless.cli.progress import Reporter, plain_line
from storage.events import BLOB_DONE, BLOB_EXISTS, BLOB_PROGRESS, NOTE, RETRY, Event

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event(BLOB_DONE, DIGEST, 5, 5), f"Copying blob {DIGEST} done"),
        (Event(BLOB_EXISTS, DIGEST), f"Copying blob {DIGEST} skipped: already exists"),
        (Event(BLOB_PROGRESS, DIGEST, 1, 5), ""),
        (Event(NOTE, text="a device was skipped"), "Note: a device was skipped"),
        (Event(RETRY, text="in 2 s"), "Retrying: in 2 s"),
    ],
    ids=lambda value: value.kind if isinstance(value, Event) else "",
)
def test_plain_line_tells_what_is_done(event: Event, line: str) -> None:
    assert plain_line(event) == line


def test_reporter_writes_lines_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter() as on_event:
        on_event(Event(BLOB_DONE, DIGEST, 5, 5))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"Copying blob {DIGEST} done\n"


def test_quiet_reporter_writes_notes_only(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(quiet=True) as on_event:
        on_event(Event(BLOB_DONE, DIGEST, 5, 5))
        on_event(Event(NOTE, text="n"))
    assert capsys.readouterr().err == "Note: n\n"
