"""Names of images: one file each, replaced by rename, so a name moves between images at once."""

import os

from storage import lightjson as json
from storage.digest import short_hash
from storage.errors import InvalidDocument, from_os_error
from storage.files import read_file, write_file
from storage.layout import Layout
from storage.oci.checks import as_object, get_text

_VERSION = 1
_FILE_NAME_LIMIT = 200
_KEPT = 150


def name_path(layout: Layout, name: str) -> str:
    """Return the file of a full name; `+` is no part of any name, so it can stand for `/`."""
    escaped = name.replace("/", "+")
    if len(escaped) > _FILE_NAME_LIMIT:
        escaped = f"{escaped[:_KEPT]}++{short_hash(name)}"
    return f"{layout.names_dir}/{escaped}"


def name_target(layout: Layout, name: str) -> str:
    """Return the digest of the manifest that a full name stands for, "" for none."""
    found, digest = _read(name_path(layout, name))
    return digest if found == name else ""


def list_names(layout: Layout) -> dict[str, str]:
    """Return every name with the digest of the manifest that it stands for."""
    found = {}
    for entry in listdir(layout.names_dir):
        if not entry.endswith(".tmp"):
            name, digest = _read(f"{layout.names_dir}/{entry}")
            if name:
                found[name] = digest
    return found


def image_names(layout: Layout, manifest_digest: str) -> tuple[str, ...]:
    """Return all names of an image, sorted."""
    names = list_names(layout)
    return tuple(sorted(name for name, digest in names.items() if digest == manifest_digest))


def set_name(layout: Layout, name: str, manifest_digest: str) -> None:
    """Let a full name stand for an image. Raises StoreUnusable, DiskFull."""
    record = {"version": _VERSION, "name": name, "manifest_digest": manifest_digest}
    path = name_path(layout, name)
    try:
        write_file(path, json.dumps(record).encode())
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error


def delete_name(layout: Layout, name: str) -> None:
    """Forget a full name; fine when it is gone. Raises StoreUnusable."""
    path = name_path(layout, name)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise from_os_error(f"remove {path}", error) from error


def listdir(path: str) -> list[str]:
    """Return the entries of a directory of the store; none when the store is not made yet."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error


def _read(path: str) -> tuple[str, str]:
    try:
        fields = as_object(json.loads(read_file(path)), path)
    except FileNotFoundError:
        return "", ""
    except OSError as error:
        raise from_os_error(f"read {path}", error) from error
    except ValueError as error:
        raise InvalidDocument(
            f"{path}: not JSON ({error})", remedy="rpod system check --repair"
        ) from error
    return get_text(fields, "name", path), get_text(fields, "manifest_digest", path)
