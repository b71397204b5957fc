"""Options of overlays and of mounted images, as they are typed."""

from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def image_words(source: str, options: "Iterable[str]", text: str) -> tuple[tuple[str, ...], str]:
    """Read `--mount type=image,source=IMAGE,target=,rw=,subpath=`: options and subpath.

    Raises UsageError.
    """
    if not source:
        raise UsageError(f'invalid mount "{text}": type=image needs src=IMAGE')
    words, subpath = "ro", ""
    for word in options:
        key, _, value = word.partition("=")
        if key in ("ro", "rw"):
            words = key
        elif key in ("subpath", "image-subpath") and value:
            subpath = value
        else:
            raise UsageError(f'invalid mount "{text}": unknown option "{word}" for type=image')
    return (words, "rprivate"), subpath


def overlay_places(options: "Iterable[str]", words: "Iterable[str]", text: str) -> tuple[str, ...]:
    """Return upperdir= and workdir= of a mount with the option O. Raises UsageError."""
    places = {"upperdir": "", "workdir": ""}
    for word in words:
        key, _, value = word.partition("=")
        if not value.startswith("/"):
            raise UsageError(f'invalid mount "{text}": {key}= wants an absolute path')
        places[key] = value
    if bool(places["upperdir"]) != bool(places["workdir"]):
        raise UsageError(f'invalid mount "{text}": upperdir= and workdir= go together')
    if {"ro", "rro"} & set(options):
        raise UsageError(f'invalid mount "{text}": O and ro do not go together')
    return tuple(places.values())
