"""Directives, continuations, comments, heredocs."""

import pytest

from rootless.build.errors import BuildError
from rootless.build.lines import read_lines


def texts(source: str) -> list[str]:
    return [one.text for one in read_lines(source.encode(), "C").instructions]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("FROM a\n", ["FROM a"]),
        ("\ufeffFROM a", ["FROM a"]),
        ("FROM a\r\nRUN b\r\n", ["FROM a", "RUN b"]),
        ("RUN a \\\n  b\n", ["RUN a   b"]),
        ("RUN a \\  \n b", ["RUN a  b"]),
        ("RUN a \\\n# comment\n  # other\n b", ["RUN a  b"]),
        ("RUN a \\\n\n b", ["RUN a  b"]),
        ("RUN a \\\\\nRUN b", ["RUN a \\\\", "RUN b"]),
        ("  # comment\n\n  FROM a", ["FROM a"]),
        ("# escape=`\nRUN a `\n b\\", ["RUN a  b\\"]),
        ("# Escape = `\nRUN a `\n b", ["RUN a  b"]),
        ("\n# escape=`\nRUN a \\\n b", ["RUN a  b"]),
        ("# nothing=x\n# escape=`\nRUN a \\\n b", ["RUN a  b"]),
        ("RUN a \\", ["RUN a"]),
    ],
)
def test_lines_are_joined(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


def test_directives_are_known() -> None:
    lines = read_lines(b"# syntax=docker/dockerfile:1\n# check=skip=all\nFROM a", "C")
    assert lines.directives == {"syntax": "docker/dockerfile:1", "check": "skip=all"}


@pytest.mark.parametrize(
    ("source", "name", "content", "expand"),
    [
        ("RUN <<EOF\na $b\nEOF\n", "EOF", "a $b\n", True),
        ("RUN <<'EOF'\na\nEOF\n", "EOF", "a\n", False),
        ('RUN <<"EOF"\na\nEOF\n', "EOF", "a\n", False),
        ("RUN <<-EOF\n\t\ta\n\tEOF\n", "EOF", "a\n", True),
        ("COPY <<x.txt /d\n# no comment \\\n\nx.txt\n", "x.txt", "# no comment \\\n\n", True),
        ("RUN 3<<EOF cat\nEOF", "EOF", "", True),
    ],
)
def test_heredoc_is_read(source: str, name: str, content: str, expand: bool) -> None:
    (logical,) = read_lines(source.encode(), "C").instructions
    (document,) = logical.heredocs
    assert (document.name, document.content, document.expand) == (name, content, expand)


def test_several_heredocs_follow_each_other() -> None:
    source = b"COPY <<a <<b /d\n1\na\n2\nb\nRUN c"
    first, second = read_lines(source, "C").instructions
    assert [(one.name, one.content) for one in first.heredocs] == [("a", "1\n"), ("b", "2\n")]
    assert (first.range, second.text, second.range.first) == ((1, 5), "RUN c", 6)


@pytest.mark.parametrize("text", ["ENV a=<<EOF", "RUN echo $((1 << 2))", "RUN echo '<<EOF'"])
def test_what_only_looks_like_a_heredoc_is_none(text: str) -> None:
    (logical,) = read_lines(text.encode(), "C").instructions
    assert logical.heredocs == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"FROM a\n\0", "C: this is no text: it has a NUL in line 2"),
        (b"FROM a\n\xff\xfe", "C:2: this is no UTF-8 text"),
        (b"RUN <<EOF\na", "C:1: the heredoc EOF has no end"),
        (b"# escape=x\nFROM a", 'C:1: the escape character must be \\ or `, not "x"'),
        (b"# escape=`\n# escape=`\nFROM a", "C:2: the directive escape is given twice"),
        (b"FROM " + b"a" * 2_000_000, "C:1: the line is longer than 1048576 characters"),
    ],
)
def test_bad_input_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(BuildError) as caught:
        read_lines(data, "C")
    assert caught.value.message == message
