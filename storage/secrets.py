"""Secrets: small confidential texts that containers are given and images never have.

A secret is built aside and appears under its name by one rename: `secrets/<name>/secret.json` is
its record, `data` its bytes, readable by its user alone. Containers keep copies of their own, so a
secret may be replaced or removed at any time.
"""

import errno
import os
import time

from storage import lightjson as json
from storage.errors import (
    Ambiguous,
    InvalidDocument,
    NameTaken,
    SecretNotFound,
    StorageError,
    from_os_error,
)
from storage.files import Lock, read_file, write_file
from storage.layout import Layout
from storage.record import NamedTuple
from storage.scratch import Departure, Scratch

RECORD_VERSION = 1
LIMIT_BYTES = 512000
_RECORD = "secret.json"
_DATA = "data"
_MAX_NAME = 64
_ID_BYTES = 13
_ID_DIGITS = 25
_ENDS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _ENDS | frozenset("_.-")
# rename(2) onto a directory that has something in it.
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)


class SecretRecord(NamedTuple):
    """Everything about a secret but what it says; times are RFC 3339 in UTC."""

    id: str
    name: str
    created_at: str
    updated_at: str
    labels: dict[str, str]
    options: dict[str, str]

    def to_json(self) -> dict[str, object]:
        return {"version": RECORD_VERSION, **self._asdict()}

    @classmethod
    def from_json(cls, raw: object, where: str) -> "SecretRecord":
        """Check a record; unknown fields are from a newer rpod. Raises InvalidDocument."""
        if not isinstance(raw, dict):
            raise InvalidDocument(f"{where}: expected an object")
        told = [raw.get(key) for key in ("id", "name", "created_at", "updated_at")]
        maps = [raw.get(key) for key in ("labels", "options")]
        if not all(isinstance(text, str) for text in told):
            raise InvalidDocument(f"{where}: id, name and the times must be text")
        if not all(isinstance(value, dict) for value in maps):
            raise InvalidDocument(f"{where}: labels and options must be objects")
        labels, options = ({str(k): str(v) for k, v in dict(m or {}).items()} for m in maps)
        identity, name, created_at, updated_at = (str(text) for text in told)
        return cls(identity, name, created_at, updated_at, labels, options)


def check_name(name: str) -> str:
    """Return the name of a secret when it is one. Raises StorageError."""
    well_formed = name[:1] in _ENDS and name[-1:] in _ENDS and _NAME.issuperset(name)
    if not name or not well_formed or len(name) > _MAX_NAME:
        raise StorageError(
            f"only {_MAX_NAME} [a-zA-Z0-9-_.] characters allowed, and the start and end character"
            f" must be [a-zA-Z0-9]: {name[: 2 * _MAX_NAME]}: invalid secret name"
        )
    return name


def create_secret(
    layout: Layout,
    name: str,
    data: bytes,
    *,
    labels: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    replace: bool = False,
) -> SecretRecord:
    """Keep a secret; with `replace` one of the same name goes in the same step.

    Raises NameTaken, StorageError, StoreUnusable.
    """
    check_name(name)
    if not 0 < len(data) < LIMIT_BYTES:
        raise StorageError(f"secret data must be larger than 0 and less than {LIMIT_BYTES} bytes")
    now = _now(time.time_ns())
    identity = os.urandom(_ID_BYTES).hex()[:_ID_DIGITS]
    record = SecretRecord(identity, name, now, now, dict(labels or {}), dict(options or {}))
    try:
        os.makedirs(layout.secrets_dir, mode=0o700, exist_ok=True)
        with Lock(layout.lock("secrets")), Scratch(layout, "secret") as scratch:
            fresh = f"{scratch.path}/new"
            os.mkdir(fresh, 0o700)
            write_file(f"{fresh}/{_DATA}", data, mode=0o600)
            write_file(f"{fresh}/{_RECORD}", json.dumps(record.to_json()).encode(), mode=0o600)
            if replace and os.path.isdir(layout.secret(name)):
                os.rename(layout.secret(name), f"{scratch.path}/old")
            os.rename(fresh, layout.secret(name))
    except OSError as error:
        if error.errno in _OCCUPIED:
            raise NameTaken(
                f"{name}: secret name in use",
                remedy=f"add --replace, or remove it first: rpod secret rm {name}",
            ) from error
        raise from_os_error(f"make secret {name}", error) from error
    return record


def read_secret(layout: Layout, name: str) -> SecretRecord:
    """Return the record of the secret with exactly this name.

    Raises SecretNotFound, InvalidDocument, StoreUnusable.
    """
    if "/" in name or name in ("", ".", "..") or len(name) > _MAX_NAME:
        raise _not_found(name)
    path = f"{layout.secret(name)}/{_RECORD}"
    try:
        return SecretRecord.from_json(json.loads(read_file(path)), path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _not_found(name) from error
    except ValueError as error:
        raise InvalidDocument(f"{path}: not JSON ({error})") from error
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error


def find_secret(layout: Layout, text: str) -> SecretRecord:
    """Find by name, id, or the unambiguous beginning of an id; a name beats an id.

    Raises SecretNotFound, Ambiguous, InvalidDocument.
    """
    try:
        return read_secret(layout, text)
    except SecretNotFound:
        matches = [one for one in list_secrets(layout) if text and one.id.startswith(text)]
        if not matches:
            raise
    if len(matches) > 1:
        raise Ambiguous(
            f'more than one result for secret id "{text}"', remedy="give more characters of the ID"
        )
    return matches[0]


def list_secrets(layout: Layout) -> list[SecretRecord]:
    """Return all secrets in the order of their names."""
    try:
        names = sorted(os.listdir(layout.secrets_dir))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise from_os_error(f"list {layout.secrets_dir}", error) from error
    records = []
    for name in names:
        try:
            records.append(read_secret(layout, name))
        except SecretNotFound:
            continue  # removed while we were looking
    return records


def secret_data(layout: Layout, record: SecretRecord) -> bytes:
    """Return what a secret says. Raises SecretNotFound, StoreUnusable."""
    path = f"{layout.secret(record.name)}/{_DATA}"
    try:
        return read_file(path, limit_bytes=LIMIT_BYTES)
    except FileNotFoundError as error:
        raise _not_found(record.name) from error
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error


def remove_secret(layout: Layout, record: SecretRecord) -> None:
    """Remove a secret; containers keep what they have been given. Raises SecretNotFound."""
    try:
        with Departure(layout) as gone:
            os.rename(layout.secret(record.name), gone.place("secret"))
    except FileNotFoundError as error:
        raise _not_found(record.name) from error
    except OSError as error:
        raise from_os_error(f"remove secret {record.name}", error) from error


def _not_found(text: str) -> SecretNotFound:
    return SecretNotFound(f'no secret with name or id "{text}": no such secret')


def _now(now_ns: int) -> str:
    seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"
