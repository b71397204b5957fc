"""`kube play --build`: images of a file are built from directories with their names."""

import os

from rootless.kube.translate import PodPlan
from storage.errors import ImageNotFound
from storage.images import find_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.host.paths import Host

    # Builds the image of a directory and gives it a name.
    Builder = Callable[[str, str], object]

_FILES = ("Containerfile", "Dockerfile")


def build_images(
    host: "Host", plans: list[PodPlan], context: str, builder: "Builder", *, always: bool
) -> list[PodPlan]:
    """Build what the containers of pods need and `context` has a directory for.

    Images that are there are built only with `always`. What was built is not looked for in a
    registry. Raises what a build raises.
    """
    built: set[str] = set()
    for name in dict.fromkeys(one.image for plan in plans for one in plan.containers):
        directory = find_directory(context, name)
        if directory and (always or not _is_there(host, name)):
            builder(directory, name)
            built.add(name)
    return [
        plan._replace(
            containers=[
                one._replace(pull="never") if one.image in built else one for one in plan.containers
            ]
        )
        for plan in plans
    ]


def find_directory(context: str, image: str) -> str:
    """Return the directory with a Containerfile that is named as the image, "" for none.

    It may have the whole name or the last part, without tag and digest.
    """
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    last = last.partition(":")[0]
    for words in (f"{head}{slash}{last}", last):
        if not words or any(part in ("", ".", "..") for part in words.split("/")):
            continue
        directory = f"{context}/{words}"
        if any(os.path.isfile(f"{directory}/{file}") for file in _FILES):
            return directory
    return ""


def _is_there(host: "Host", name: str) -> bool:
    try:
        find_image(host.layout, name)
    except ImageNotFound:
        return False
    return True
