"""--chmod: octal and the symbolic modes of chmod(1)."""

import pytest

from storage.build.errors import BuildInputError
from storage.build.modes import ModeChange


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("755", 0o600, 0o755),
        ("0755", 0o600, 0o755),
        ("4711", 0o600, 0o4711),
        ("u+x", 0o644, 0o744),
        ("+x", 0o644, 0o755),
        ("a-w", 0o666, 0o444),
        ("go=", 0o777, 0o700),
        ("u=rwX,go=rX", 0o600, 0o644),
        ("u=rwX,go=rX", 0o700, 0o755),
        ("g=u", 0o640, 0o660),
        ("o=g-w", 0o664, 0o664),
        ("u+s,g+s,+t", 0o755, 0o7755),
        ("ug+rw", 0o400, 0o660),
    ],
)
def test_mode_of_a_file(text: str, mode: int, expected: int) -> None:
    assert ModeChange(text).apply(mode, is_directory=False) == expected


def test_capital_x_makes_directories_searchable() -> None:
    assert ModeChange("u=rwX,go=rX").apply(0o600, is_directory=True) == 0o755


@pytest.mark.parametrize("text", ["", "8", "99999", "u", "u?x", "rwx", "u+q", "0o755", "-1"])
def test_malformed_mode_is_refused(text: str) -> None:
    with pytest.raises(BuildInputError, match="not a mode"):
        ModeChange(text)
