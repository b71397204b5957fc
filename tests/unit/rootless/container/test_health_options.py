import pytest

from rootless.container.health_options import parse_test


@pytest.mark.parametrize(
    ("text", "test"),
    [
        ("curl -f localhost", ["CMD-SHELL", "curl -f localhost"]),
        ('["curl", "-f", "localhost"]', ["CMD", "curl", "-f", "localhost"]),
        ('["CMD", "curl"]', ["CMD", "curl"]),
        ('["CMD-SHELL", "a | b"]', ["CMD-SHELL", "a | b"]),
        ('["a | b"]', ["CMD-SHELL", "a | b"]),  # what podman-compose makes of CMD-SHELL
        ("[ -e /ready ]", ["CMD-SHELL", "[ -e /ready ]"]),
        ("none", []),
        ('["NONE"]', []),
    ],
)
def test_check_has_dockers_form(text: str, test: list[str]) -> None:
    assert parse_test("--health-cmd", text) == test
