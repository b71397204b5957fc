"""What builds have made before: one record for each step, found by the digest of its inputs.

    build-cache/steps/<key>.json    the layer that a step made; .gone: its garbage is to be removed
    build-cache/last/<place>        the key and the inputs that a line of a Containerfile had last
    build-cache/mounts/<name>/      the directories of `RUN --mount=type=cache`

A record that is there is whole. Its layer is kept by the garbage collection as one of an image is.
"""

import os
import time

from storage import lightjson as json
from storage.digest import is_digest
from storage.errors import from_os_error
from storage.files import read_file, write_file
from storage.layout import Layout
from storage.names import listdir
from storage.record import NamedTuple

_VERSION = 1
_JSON = ".json"
_GONE = ".gone"


class CachedStep(NamedTuple):
    """A step that was executed; the texts of the layer are empty where it made none.

    `chain_id` is the unpacked layer that it left, `text` its line of the history.
    """

    key: str
    digest: str
    size: int
    diff_id: str
    media_type: str
    chain_id: str
    text: str
    created_s: float


def find_step(layout: Layout, key: str) -> CachedStep | None:
    """Return what is known for a key, None when it is not, or when its layer has gone."""
    found = _read(f"{layout.build_steps_dir}/{key}{_JSON}", key)
    if found is None or (found.digest and not os.path.exists(layout.blob(found.digest))):
        return None
    return found


def keep_step(layout: Layout, step: CachedStep) -> None:
    """Remember a step. Raises StoreUnusable, DiskFull."""
    path = f"{layout.build_steps_dir}/{step.key}{_JSON}"
    data = json.dumps({"version": _VERSION, **step._asdict()}).encode()
    try:
        os.makedirs(layout.build_steps_dir, mode=0o700, exist_ok=True)
        write_file(path, data, sync=False)
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error


def use_step(layout: Layout, key: str) -> None:
    """Say that a step has been used now: pruning by age looks at the time of its record."""
    try:
        os.utime(f"{layout.build_steps_dir}/{key}{_JSON}")
    except OSError:
        # Pruned meanwhile, or a store that is read-only just now: only its age is wrong then.
        return


def list_steps(layout: Layout) -> list[tuple[CachedStep, float]]:
    """Return every step with the time when it was used last (seconds since 1970)."""
    found = []
    for name in listdir(layout.build_steps_dir):
        if not name.endswith(_JSON):
            continue
        path = f"{layout.build_steps_dir}/{name}"
        step = _read(path, name.removesuffix(_JSON))
        try:
            used_s = os.stat(path).st_mtime
        except FileNotFoundError:
            continue
        if step is not None:
            found.append((step, used_s))
    return found


def forget_steps(
    layout: Layout, *, unused_since_s: float | None = None, needed: frozenset[str] | None = None
) -> list[CachedStep]:
    """Forget steps, those not used since a moment or all; return them.

    With `needed` only steps whose layer is none of these chain ids.
    Their layers are removed by the next garbage collection. Raises StoreUnusable.
    """
    gone = []
    for step, used_s in list_steps(layout):
        if unused_since_s is not None and used_s >= unused_since_s:
            continue
        if needed is not None and (not step.digest or step.chain_id in needed):
            continue
        path = f"{layout.build_steps_dir}/{step.key}"
        try:
            os.rename(path + _JSON, path + _GONE)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise from_os_error(f"remove {path}{_JSON}", error) from error
        gone.append(step)
    return gone


def take_gone_steps(layout: Layout, in_use: frozenset[str] = frozenset()) -> list[CachedStep]:
    """Return the steps that have been forgotten, and remove the last trace of them.

    Those with a layer that is `in_use` (hex digests) wait.
    """
    gone = []
    for name in listdir(layout.build_steps_dir):
        if name.endswith(_GONE):
            path = f"{layout.build_steps_dir}/{name}"
            step = _read(path, name.removesuffix(_GONE))
            if step is not None and step.digest.removeprefix("sha256:") in in_use:
                continue
            if step is not None:
                gone.append(step)
            os.unlink(path)
    return gone


def read_last(layout: Layout, place: str) -> dict[str, str]:
    """Return the inputs that a line of a Containerfile had when it was built last; {} if never."""
    try:
        raw = json.loads(read_file(f"{layout.build_last_dir}/{place}"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(text) for name, text in raw.items()} if isinstance(raw, dict) else {}


def write_last(layout: Layout, place: str, inputs: dict[str, str]) -> None:
    """Remember the inputs of a line. Raises StoreUnusable, DiskFull."""
    path = f"{layout.build_last_dir}/{place}"
    try:
        os.makedirs(layout.build_last_dir, mode=0o700, exist_ok=True)
        write_file(path, json.dumps(inputs).encode(), sync=False)
    except OSError as error:
        raise from_os_error(f"write {path}", error) from error


def new_step(key: str, text: str) -> CachedStep:
    """Return a step that has just been executed, without a layer as yet."""
    return CachedStep(key, "", 0, "", "", "", text, time.time())


def _read(path: str, key: str) -> CachedStep | None:
    """Return a record; a damaged one counts as absent, for it can be made again."""
    try:
        raw = json.loads(read_file(path))
        found = CachedStep._make(raw[field] for field in CachedStep._fields)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.key == key and _is_sound(found) else None


def _is_sound(step: CachedStep) -> bool:
    words = (step.key, step.digest, step.diff_id, step.media_type, step.chain_id, step.text)
    numbers = (step.size, step.created_s)
    if not all(isinstance(word, str) for word in words):
        return False
    if not all(isinstance(number, int | float) for number in numbers):
        return False
    digests = (step.digest, step.diff_id, step.chain_id)
    return all(map(is_digest, digests)) if step.digest else not any(digests)
