"""The pack of compiled modules that an installation has."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
PACKAGES = ("rootless", "slirp", "storage")
ASK = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "import rootless.bytecode, rootless.cli.commands.run, storage.oci as package;"
    "print(type(rootless.cli.commands.run.__spec__.loader).__name__,"
    " rootless.cli.commands.run.__file__, package.__path__)"
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that is as a wheel's is."""
    root = tmp_path_factory.mktemp("installed")
    for name in PACKAGES:
        shutil.copytree(CHECKOUT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    spec = importlib.util.spec_from_file_location("pack", CHECKOUT / "contrib/wheel/pack.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_pack(str(root))
    return root


def _ask(root: Path) -> list[str]:
    command = [sys.executable, "-B", "-I", "-S", "-c", ASK, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split(maxsplit=2)


def test_modules_come_from_the_pack(packed: Path) -> None:
    loader, file, path = _ask(packed)
    assert loader == "Pack"
    assert file == f"{packed}/rootless/cli/commands/run.py"
    assert path.strip() == f"['{packed}/storage/oci']"


def test_every_module_is_in_it_and_works_as_the_source_does(packed: Path) -> None:
    names = [
        ".".join(path.relative_to(packed).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in (packed / package).rglob("*.py")
    ]
    program = (
        "import sys, importlib; sys.path.insert(0, sys.argv[1]); import rootless.bytecode as b;"
        "index = sys.meta_path[0]._index;"
        "print(sorted({*sys.argv[2:]} - {*index}))"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-I", "-S", "-c", program, str(packed), *names],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['rootless', 'rootless.bytecode']"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"\0" * 16 + data[16:], id="other-python"),
        pytest.param(lambda data: data[:10], id="short-header"),
        pytest.param(lambda data: data[:200], id="short-index"),
        pytest.param(lambda data: data[:16] + b"\xff" * 64 + data[80:], id="broken-index"),
        pytest.param(lambda data: b"", id="empty"),
    ],
)
def test_pack_that_does_not_fit_is_left_aside(packed: Path, damage: object) -> None:
    pack = packed / "rootless/modules.pack"
    whole = pack.read_bytes()
    try:
        pack.write_bytes(damage(whole))  # type: ignore[operator]
        loader, file, _ = _ask(packed)
    finally:
        pack.write_bytes(whole)
    assert loader == "SourceFileLoader"
    assert file == f"{packed}/rootless/cli/commands/run.py"


def test_checkout_has_none() -> None:
    assert not os.path.exists(CHECKOUT / "rootless/modules.pack")


def test_command_starts_without_regular_expressions(packed: Path) -> None:
    script = (CHECKOUT / "contrib/bin/rpod").read_text()
    (packed / "rpod").write_text(script)
    done = subprocess.run(
        [
            sys.executable,
            "-B",
            "-I",
            "-S",
            "-X",
            "importtime",
            "-c",
            f"""
import sys
sys.path.insert(0, {str(packed)!r})
sys.argv = ["rpod", "images", "--root", {str(packed)!r} + "/store"]
exec(compile({script!r}, "rpod", "exec"))
""",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rootless.cli.main" in loaded
    assert not loaded & {"re", "enum", "functools"}
