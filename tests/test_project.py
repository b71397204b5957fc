"""The project as a whole: format, lint, types, imports, and what its files may say."""

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGES = ("rootless", "slirp", "storage")
ERROR_MODULES = ("rootless.errors", "slirp.errors", "storage.errors")
SOURCES = (*PACKAGES, "tests", "contrib")


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a development tool of this Python in the root of the project."""
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.time_limit(300)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "format", "--check", "."], id="format"),
        pytest.param(["ruff", "check", "."], id="lint"),
        pytest.param(["mypy"], id="types"),
        pytest.param(["lint-imports"], id="imports"),
    ],
)
def test_tool_finds_nothing(command: list[str]) -> None:
    done = tool(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def python_files(*tops: str) -> Iterator[str]:
    for top in tops:
        for directory, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                if name.endswith(".py"):
                    yield os.path.relpath(os.path.join(directory, name), ROOT)


def text_of(path: str) -> str:
    with open(os.path.join(ROOT, path), encoding="utf-8") as source:
        return source.read()


def project_files() -> list[str]:
    """List the files of the project that are text: those git tracks, or all but the ignored."""
    listed = tool("git", "ls-files", "--cached", "--others", "--exclude-standard")
    if listed.returncode == 0:
        return [name for name in listed.stdout.splitlines() if is_text(name)]
    found = []
    for top in (*SOURCES, "docs", ".ci"):
        for directory, _, names in os.walk(os.path.join(ROOT, top)):
            found += [os.path.relpath(os.path.join(directory, name), ROOT) for name in names]
    return [name for name in found if is_text(name)]


def is_text(path: str) -> bool:
    try:
        with open(os.path.join(ROOT, path), "rb") as source:
            return b"\0" not in source.read(4096)
    except (FileNotFoundError, IsADirectoryError):
        return False


def test_package_files_are_empty() -> None:
    full = [path for path in python_files(*PACKAGES, "tests") if path.endswith("__init__.py")]
    assert full != []
    assert [path for path in full if text_of(path) != ""] == []


@pytest.mark.parametrize("path", sorted(python_files(*PACKAGES)))
def test_module_is_short_and_described(path: str) -> None:
    text = text_of(path)
    assert text.count("\n") <= 600
    assert text == "" or ast.get_docstring(ast.parse(text)), "no docstring"


def test_nothing_is_left_to_do() -> None:
    words = re.compile(
        r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|NotImplemented" + "Error"
    )
    paths = python_files(*SOURCES)
    found = [path for path in paths if words.search(text_of(path))]
    assert found == []


def test_no_file_names_a_machine() -> None:
    """Neither a developer's directory nor a package registry's host belongs into the project."""
    places = re.compile(
        r"(?<![\w.])/" + r"(work|farm)/\w|/opt/" + r"(venv|pypi)|/tmp/" + r"(rp|bash_jobs)/"
        r"|py" + r"pi\.org|python" + r"hosted\.org|https?://[\w.]*" + r"(artifactory|nexus)"
    )
    found = [path for path in project_files() if places.search(text_of(path))]
    assert found == []


def error_classes() -> list[type[Exception]]:
    return [
        value
        for name in ERROR_MODULES
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == name
    ]


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_error_class_is_in_the_tree_of_its_module(error: type[Exception]) -> None:
    tree = importlib.import_module(error.__module__).__doc__
    assert tree is not None
    assert re.search(rf"\b{error.__name__}\b", tree)


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_error_class_has_an_exit_code_of_its_own_or_inherited(error: type[Exception]) -> None:
    if error.__name__ == "Interrupted":
        assert error(15).exit_code == 128 + 15  # type: ignore[attr-defined]  # RootlessError
        return
    assert getattr(error, "exit_code", None) in (1, 2, 125, 126, 127)


@pytest.mark.parametrize("name", ["README.md", "docs"])
def test_links_lead_to_files(name: str) -> None:
    paths = [name]
    if os.path.isdir(os.path.join(ROOT, name)):
        paths = [f"{name}/{entry}" for entry in os.listdir(os.path.join(ROOT, name))]
    broken = []
    for path in paths:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(path)):
            beside = os.path.join(ROOT, os.path.dirname(path), target)
            if "://" not in target and not os.path.exists(beside):
                broken.append(f"{path}: {target}")
    assert broken == []


def test_version_is_that_of_the_distribution() -> None:
    from rootless.version import VERSION

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as source:
        project = tomllib.load(source)
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "rootless.version.VERSION"
    done = tool("rpod", "--version")
    assert VERSION in done.stdout.split(), done.stdout + done.stderr


def test_licence_is_the_one_declared() -> None:
    assert text_of("LICENSE").lstrip().startswith("Apache License")
