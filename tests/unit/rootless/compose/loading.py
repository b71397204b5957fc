"""Load projects from texts."""

from pathlib import Path

from rootless.compose.parts import Part
from rootless.compose.project import Project, load_project
from rootless.compose.settings import Options


def load(directory: Path, *texts: str | bytes, **environ: str) -> Project:
    """Write texts as files that lie over each other, and load them."""
    paths = []
    for number, text in enumerate(texts):
        path = directory / f"file{number}.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        paths.append(str(path))
    return load_project(Options(files=tuple(paths)), environ, str(directory))


def web(directory: Path, *texts: str, **environ: str) -> Part:
    """Load files with a service `web` and return it; each text is what the service has."""
    files = ["services:\n  web:\n    image: i\n"]
    files[0] += "".join(f"    {line}\n" for line in texts[0].splitlines())
    for text in texts[1:]:
        lines = "".join(f"    {line}\n" for line in text.splitlines())
        files.append(f"services:\n  web:\n{lines}")
    return load(directory, *files, **environ).services["web"]
