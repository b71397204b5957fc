"""Commands on secrets."""

import os
import sys
import time

from rootless.cli.commands.selection import exit_code, for_each
from rootless.cli.output import Row, print_formatted, split_filters, write
from rootless.cli.pairs import key_values
from rootless.errors import UsageError
from rootless.filters import passes
from rootless.human import ago_text, parse_rfc3339
from storage import secrets
from storage.errors import SecretNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host
    from storage.secrets import SecretRecord

FIELDS = ("ID", "Name", "Driver", "CreatedAt", "UpdatedAt")
_TABLE = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}"
_HEADINGS = {"CreatedAt": "CREATED", "UpdatedAt": "UPDATED"}


def create(invocation: "Invocation") -> int:
    """Keep a secret and print its id."""
    name, source = invocation.text("name"), invocation.text("file")
    labels = key_values(invocation.texts("label"), "label", bare=True)
    options = key_values(invocation.texts("driver_opts"), "driver-opts", bare=False)
    secrets.check_name(name)
    host = invocation.host()
    if invocation.flag("ignore"):
        try:
            return _say(secrets.read_secret(host.layout, name).id)
        except SecretNotFound:
            pass
    data = _from_variable(source) if invocation.flag("env") else _read(source)
    record = secrets.create_secret(
        host.layout,
        name,
        data,
        labels=labels,
        options=options,
        replace=invocation.flag("replace"),
    )
    return _say(record.id)


def _say(text: str) -> int:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return 0


def _from_variable(name: str) -> bytes:
    value = os.environb.get(os.fsencode(name))
    if value is None:
        raise UsageError(f"cannot create store secret data: environment variable {name} is not set")
    return value


def _read(path: str) -> bytes:
    """Read a file, or standard input, to the limit of a secret."""
    if path == "-" and sys.stdin.isatty():
        raise UsageError(
            "if `-` is used, data must be passed into stdin", remedy="use a pipe or a file"
        )
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            return file.read(secrets.LIMIT_BYTES)
    except OSError as error:
        raise UsageError(f"read the secret from {path}: {error.strerror}") from error


def list_(invocation: "Invocation") -> int:
    """List secrets."""
    host = invocation.host()
    pairs = split_filters(invocation.texts("filter"), ("name", "id"), "secret")
    records = [r for r in secrets.list_secrets(host.layout) if passes(pairs, _test(r))]
    if invocation.flag("quiet"):
        write("".join(f"{record.id}\n" for record in records))
        return 0
    text = invocation.text("format")
    print_formatted(
        [_row(record) for record in records],
        _TABLE if text in ("", "table") else text,
        headings=_HEADINGS,
        valid=FIELDS,
        noheading=invocation.flag("noheading"),
    )
    return 0


def _test(record: "SecretRecord") -> "Callable[[str, str], bool]":
    def test(key: str, value: str) -> bool:
        if key == "id":
            return record.id.startswith(value)
        import re

        return bool(re.search(value, record.name))

    return test


def _row(record: "SecretRecord") -> Row:
    now_s = time.time()
    fields = {
        "ID": record.id,
        "Name": record.name,
        "Driver": "file",
        "CreatedAt": ago_text(record.created_at, now_s),
        "UpdatedAt": ago_text(record.updated_at, now_s),
    }
    return Row(fields, dict(fields))


def inspect(invocation: "Invocation") -> int:
    """Show secrets, and only with --showsecret what they say."""
    from rootless.cli.commands.looks import show_documents

    is_shown = invocation.flag("showsecret")

    def look(host: "Host", name: str) -> dict[str, object]:
        try:
            record = secrets.find_secret(host.layout, name)
        except SecretNotFound as error:
            raise SecretNotFound(f"inspecting secret: {error.message}") from error
        return _document(host, record, is_shown=is_shown)

    text = invocation.text("format")
    if not invocation.flag("pretty"):
        return show_documents(invocation.host(), invocation.texts("names"), look, text)
    if text != "json":
        raise UsageError("--pretty and --format do not go together", remedy="leave one out")

    def show(name: str) -> None:
        write(_pretty(look(invocation.host(), name)))

    return exit_code(for_each(invocation.texts("names"), show))


def _document(host: "Host", record: "SecretRecord", *, is_shown: bool) -> dict[str, object]:
    document: dict[str, object] = {
        "ID": record.id,
        "CreatedAt": record.created_at,
        "UpdatedAt": record.updated_at,
        "Spec": {
            "Name": record.name,
            "Driver": {
                "Name": "file",
                "Options": {"path": host.layout.secrets_dir, **record.options},
            },
            "Labels": record.labels,
        },
    }
    if is_shown:
        document["SecretData"] = secrets.secret_data(host.layout, record).decode(errors="replace")
    return document


def _pretty(document: dict[str, object]) -> str:
    spec = document["Spec"]
    assert isinstance(spec, dict)
    lines = [f"ID:              {document['ID']}", f"Name:              {spec['Name']}"]
    if spec["Labels"]:
        lines += ["Labels:", *(f" - {key}={value}" for key, value in spec["Labels"].items())]
    lines.append("Driver:            file")
    for title, key in (("Created at", "CreatedAt"), ("Updated at", "UpdatedAt")):
        lines.append(f"{title}:        {_go_time(str(document[key]))}")
    if "SecretData" in document:
        lines.append(f"Secret:            {document['SecretData']}")
    return "".join(f"{line}\n" for line in lines)


def _go_time(rfc3339: str) -> str:
    """Return the time as Go prints it."""
    if parse_rfc3339(rfc3339) is None:
        return rfc3339
    return f"{rfc3339[:10]} {rfc3339[11:].removesuffix('Z')} +0000 UTC"


def remove(invocation: "Invocation") -> int:
    """Remove secrets and print their ids."""
    host = invocation.host()
    names = list(invocation.texts("names"))
    if invocation.flag("all"):
        if names:
            raise UsageError("--all and names of secrets do not go together")
        names = [record.id for record in secrets.list_secrets(host.layout)]
    elif not names:
        raise UsageError("must specify at least one secret, or --all")

    def remove_one(text: str) -> None:
        try:
            record = secrets.find_secret(host.layout, text)
            secrets.remove_secret(host.layout, record)
        except SecretNotFound:
            if not invocation.flag("ignore"):
                raise
            return
        _say(record.id)

    return exit_code(for_each(names, remove_one))


def exists(invocation: "Invocation") -> int:
    """Say by the exit code whether a secret exists."""
    try:
        secrets.find_secret(invocation.host().layout, invocation.text("name"))
    except SecretNotFound:
        return 1
    return 0
