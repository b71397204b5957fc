"""The images of services: here, fetched or built, as their pull policies say."""

from rootless import images
from rootless.compose import identity
from rootless.compose.errors import ComposeError, PullFailed
from rootless.compose.jobs import Job, run_jobs
from rootless.compose.parts import Part
from rootless.errors import RootlessError
from storage.errors import ImageNotFound, StorageError
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.compose.jobs import Tell
    from rootless.compose.project import Project
    from rootless.host.paths import Host

_POLICIES = ("always", "never", "missing", "if_not_present", "build", "newer")
_PERIODS_S = {"daily": 86400, "weekly": 7 * 86400}


class ImageOptions(NamedTuple):
    """What the command line says about images; `pull` is a policy for all services."""

    pull: str = ""
    build: bool = False
    no_build: bool = False
    quiet: bool = False
    ignore_failures: bool = False
    at_once: int = 0


def is_here(host: "Host", name: str) -> bool:
    """Whether the store has an image of this name."""
    try:
        images.find_local(host, name)
    except ImageNotFound:
        return False
    return True


def ensure_images(
    host: "Host",
    project: "Project",
    options: ImageOptions,
    tell: "Tell",
    build: "Callable[[list[str]], None]",
) -> None:
    """Have the image of every service in the store. `build` makes those of the services it gets.

    Raises PullFailed, BuildFailed, ComposeError.
    """
    to_build: list[str] = []
    to_pull: dict[str, str] = {}
    for name, service in project.services.items():
        image = identity.image_name(project.name, name, service)
        policy = _policy(name, service, options)
        can_build = "build" in service
        if can_build and (options.build or policy == "build"):
            to_build.append(name)
        elif policy == "always" and ("image" in service or not can_build):
            to_pull[name] = policy
        elif is_here(host, image):
            if policy == "newer" and "image" in service:
                to_pull[name] = policy
        elif can_build and policy != "never":
            to_build.append(name)
        elif policy == "never":
            raise ComposeError(f"service {name}: image {image} is not here, and is never pulled")
        else:
            to_pull[name] = policy
    if to_build and options.no_build:
        # What somebody else has built under this name is as good.
        missing = [name for name in to_build if not is_here(host, _image(project, name))]
        if missing:
            raise ComposeError(
                f"service {missing[0]}: its image is not here, and --no-build was given"
            )
        to_build = []
    pull_images(host, project, to_pull, options, tell)
    if to_build:
        build(to_build)


def _image(project: "Project", name: str) -> str:
    return identity.image_name(project.name, name, project.services[name])


def _policy(name: str, service: Part, options: ImageOptions) -> str:
    """Return always, never, missing, newer or build."""
    text = options.pull or service.text("pull_policy", "missing")
    if text in _PERIODS_S or text.startswith("every_"):
        return "newer"
    if text not in _POLICIES:
        raise ComposeError(
            f"services.{name}.pull_policy: unknown policy {text!r}",
            remedy="use " + ", ".join(_POLICIES),
        )
    return "missing" if text == "if_not_present" else text


def pull_images(
    host: "Host",
    project: "Project",
    policies: dict[str, str],
    options: ImageOptions,
    tell: "Tell",
) -> None:
    """Fetch the images of services, side by side, each image once. Raises PullFailed."""
    jobs = []
    seen: set[tuple[str, str]] = set()
    for name, policy in policies.items():
        service = project.every()[name]
        image = identity.image_name(project.name, name, service)
        platform = service.text("platform")
        if (image, platform) in seen:
            continue
        seen.add((image, platform))
        jobs.append(Job(name, _pull(host, name, image, policy, platform, options)))
    run_jobs(host, jobs, tell, at_once=options.at_once)


def _pull(
    host: "Host", name: str, image: str, policy: str, platform: str, options: ImageOptions
) -> "Callable[[Tell], object]":
    def work(tell: "Tell") -> object:
        if not options.quiet:
            tell("Image", image, "Pulling")
        settings = images.PullSettings(pull=policy, platform=platform or None)
        try:
            found = images.obtain(host, image, settings)
        except (RootlessError, StorageError) as error:
            if options.ignore_failures:
                host.note(f"pull {image}: {error.message}")
                return ""
            raise PullFailed(f"service {name}: {error.message}", remedy=error.remedy) from error
        if not options.quiet:
            tell("Image", image, "Pulled")
        return found.image_id

    return work
