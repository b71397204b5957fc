"""`--label` and `--label-file`."""

from rootless.container.environment import read_lines
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError


def _label_lines(request: ContainerRequest) -> list[str]:
    lines: list[str] = []
    for path in request.label_file:
        lines += read_lines(path, "--label-file")
    return lines


def labels_of(request: ContainerRequest) -> dict[str, str]:
    """Return the labels, those of files first. Raises UsageError."""
    labels = {}
    for text in (*_label_lines(request), *request.label):
        name, _, value = text.partition("=")
        if not name:
            raise UsageError(f'--label: invalid label "{text}"', remedy="use --label NAME=VALUE")
        labels[name] = value
    return labels
