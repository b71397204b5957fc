"""How errors are told."""

import pytest

from rootless.cli.reporting import print_error

TEXTS = {
    "plain": ("no image 'x'", "no image 'x'"),
    "accents": ("no image 'é€'", "no image 'é€'"),
    "colour": ("user \x1b[31mred", "user \\x1b[31mred"),
    "carriage return": ("a\rb", "a\\rb"),
    "control of eight bits": ("a\x9bb", "a\\x9bb"),
    "byte": ("a\udcffb", "a\\xffb"),
    "lines": ("a\nb", "a\nb"),
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS.keys())
def test_error_moves_no_cursor(capsys: pytest.CaptureFixture[str], text: str, shown: str) -> None:
    print_error(text, text)
    assert capsys.readouterr().err == f"Error: {shown}\n  {shown}\n"
