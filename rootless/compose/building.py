"""From the `build` section of a service to the request for a build."""

from rootless.build.request import BuildRequest
from rootless.compose import identity
from rootless.compose.errors import ComposeError
from rootless.compose.parts import Part
from rootless.compose.resources import content_of
from rootless.container.request import ContainerRequest
from storage.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.compose.project import Project

_INLINE = "Dockerfile"
_SECRET = "secret."  # noqa: S105 - the beginning of a name


class BuildOptions(NamedTuple):
    """What the command line of `compose build` says."""

    no_cache: bool = False
    pull: bool = False
    arguments: dict[str, str | None] = {}  # noqa: RUF012 - never changed
    ssh: tuple[str, ...] = ()


def written_files(project: "Project", service: str) -> dict[str, bytes]:
    """Return what a build wants as files and has not: `dockerfile_inline`, secrets of variables.

    The names are those that `make_build_request` expects in its `directory`. Raises ComposeError.
    """
    build = project.every()[service].part("build")
    found = {}
    if inline := build.text("dockerfile_inline"):
        found[_INLINE] = inline.encode()
    for one in build.parts("secrets"):
        source = one.text("source")
        if "environment" in project.secrets[source]:
            data = content_of(project, "secrets", source, project.secrets[source])
            found[f"{_SECRET}{source}"] = data
    return found


def make_build_request(
    project: "Project", service: str, options: BuildOptions, directory: str = ""
) -> BuildRequest:
    """Return the request for the image of a service; `directory` has its `written_files`.

    Raises ComposeError.
    """
    fields = project.every()[service]
    build = fields.part("build")
    where = f"services.{service}.build"
    context = build.text("context")
    inline = f"{directory}/{_INLINE}" if "dockerfile_inline" in build else ""
    dockerfile = inline or build.text("dockerfile")
    is_remote = "://" in context or context.startswith("git@")
    if dockerfile and not is_remote and not dockerfile.startswith("/"):
        dockerfile = f"{context}/{dockerfile}"
    arguments = {**build.pairs("args"), **options.arguments}
    values = {
        name: project.variables.get(name) if value is None else value
        for name, value in arguments.items()
    }
    platforms = build.texts("platforms")
    if not platforms and "platform" in fields:
        platforms = (fields.text("platform"),)
    return BuildRequest(
        context=context,
        files=(dockerfile,) if dockerfile else (),
        target=build.text("target"),
        tags=(identity.image_name(project.name, service, fields), *build.texts("tags")),
        build_args={name: value for name, value in values.items() if value is not None},
        build_contexts=_contexts(project, build),
        platforms=platforms,
        labels=tuple(f"{key}={value}" for key, value in _labels(project, service, build).items()),
        secrets=tuple(_secret(project, one, where, directory) for one in build.parts("secrets")),
        ssh=options.ssh or build.texts("ssh"),
        no_cache=options.no_cache or build.flag("no_cache"),
        no_cache_filter=build.texts("no_cache_filter"),
        allow=build.texts("entitlements"),
        pull="always" if options.pull or build.flag("pull") else "missing",
        cache_from=build.texts("cache_from"),
        cache_to=build.texts("cache_to"),
        run=_run_request(build),
    )


def _labels(project: "Project", service: str, build: Part) -> dict[str, str]:
    own = {**identity.project_labels(project.name), identity.SERVICE: service}
    return {**own, **build.words("labels")}


def _contexts(project: "Project", build: Part) -> dict[str, str]:
    found = {}
    for name, place in build.words("additional_contexts").items():
        if place.startswith("service:"):
            other = place.partition(":")[2]
            if other not in project.every():
                raise ComposeError(f"additional_contexts.{name}: no such service: {other}")
            place = (
                f"docker-image://{identity.image_name(project.name, other, project.every()[other])}"
            )
        found[name] = place
    return found


def _secret(project: "Project", one: Part, where: str, directory: str) -> str:
    source = one.text("source")
    defined = project.secrets[source]
    identity_text = f"id={one.text('target') or source}"
    if path := defined.text("file"):
        return f"{identity_text},src={path}"
    if "environment" in defined:
        return f"{identity_text},src={directory}/{_SECRET}{source}"
    raise ComposeError(f"{where}.secrets: {source} has neither a file nor a variable")


def _run_request(build: Part) -> ContainerRequest:
    network = build.text("network")
    hosts = build.part("extra_hosts")
    return ContainerRequest(
        network=(network,) if network and network != "default" else (),
        add_host=tuple(f"{name}:{one}" for name in hosts for one in hosts.texts(name)),
        shm_size=int(build.text("shm_size", "0")) or ContainerRequest().shm_size,
        ulimit=tuple(
            f"{name}={both.number('soft')}:{both.number('hard')}"
            for name, both in build.part("ulimits").each()
        ),
    )


def build_order(project: "Project", names: "list[str]") -> list[str]:
    """Return services so that each is built after those whose images its build uses.

    Raises ComposeError.
    """
    done: list[str] = []
    rest = list(names)
    while rest:
        ready = [one for one in rest if not (_used(project, one) & (set(rest) - {one}))]
        if not ready:
            raise ComposeError(f"builds need each other: {', '.join(rest)}")
        done += ready
        rest = [one for one in rest if one not in ready]
    return done


def _used(project: "Project", service: str) -> set[str]:
    places = project.every()[service].part("build").words("additional_contexts").values()
    return {place.partition(":")[2] for place in places if place.startswith("service:")}
