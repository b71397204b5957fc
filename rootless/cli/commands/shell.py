"""shell: work in an image as yourself."""

import os
import sys

from rootless.cli.progress import Reporter
from rootless.container.shell import ShellRequest, make_request
from rootless.container.shell_words import names_image
from rootless.errors import CommandNotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.container.project import Project
    from rootless.container.request import ContainerRequest
    from rootless.host.paths import Host

_OWN = ("keep", "as_root", "home", "rootfs", "project", "join", "join_tag", "image", "command")
_HERE = "."


def shell(invocation: "Invocation") -> int:
    """Run a shell or a command; the exit code is the command's."""
    host = invocation.host()
    keep = invocation.text("keep")
    asked = _with_words(invocation, host, _asked(invocation), keep)
    given = len(asked.command)
    host.one_id_is_enough = not asked.root
    if not asked.rootfs and asked.image in ("", _HERE):
        if keep and not invocation.text("project"):
            from rootless.container.shell_keep import image_of

            asked = asked._replace(image=image_of(host, keep))
        if asked.image in ("", _HERE):
            project = _project(invocation, host)
            asked = _with_project(host, asked, project)
            keep = keep or project.keep
    request = make_request(host, asked)
    try:
        if invocation.flag("join"):
            if keep:
                raise UsageError("--join and --keep do not go together")
            return _run_joined(invocation, host, request, given)
        if keep:
            return _run_kept(host, keep, request)
        return _run(host, request)
    except CommandNotFound as error:
        word = invocation.text("image")
        if word and asked.command[:1] == (word,):
            error.remedy = f"it is looked for in {asked.image}; for an image: rpod shell {word}:TAG"
        raise


def _with_words(
    invocation: "Invocation", host: "Host", asked: ShellRequest, keep: str
) -> ShellRequest:
    """Take the first word for the command's, where an image is known and this is not another one.

    Raises UsageError.
    """
    word = asked.image
    if asked.rootfs or word in ("", _HERE):
        return asked
    if not _is_marked(invocation) and names_image(word):
        if invocation.text("project"):
            raise UsageError(f"--project says which image to use, and so does {word}")
        return asked
    known = _images_of(host, keep)
    if word not in known and (known or invocation.text("project") or _has_project(host)):
        return asked._replace(image="", command=(word, *asked.command))
    return asked


def _is_marked(invocation: "Invocation") -> bool:
    """Tell whether -- stands before the first word."""
    words = 1 + len(invocation.texts("command"))
    return sys.argv[-words - 1 : -words] == ["--"]


def _images_of(host: "Host", keep: str) -> tuple[str, ...]:
    """Return the names of what a shell that is there already was made from."""
    if not keep:
        return ()
    from rootless.container.shell_keep import images_of

    return images_of(host, keep)


def _has_project(host: "Host") -> bool:
    from rootless.container.project import find_project, settings_files
    from rootless.host.paths import home_directory

    home = home_directory(host.uid, host.environ)
    return bool(find_project(os.getcwd(), settings_files(host.environ, home)))


def _asked(invocation: "Invocation") -> ShellRequest:
    """Return what the command line says. Raises UsageError."""
    options = {name: value for name, value in invocation.given.items() if name not in _OWN}
    image, rootfs = invocation.text("image"), invocation.text("rootfs")
    command = invocation.texts("command")
    if rootfs:
        if invocation.text("keep"):
            raise UsageError("--rootfs and --keep do not go together: the copy is thrown away")
        command = (image, *command) if image else ()
        image = ""
    return ShellRequest(
        image=image,
        command=command,
        rootfs=rootfs,
        join=invocation.flag("join"),
        root=invocation.flag("as_root"),
        home=invocation.flag("home"),
        tty=os.isatty(0) and os.isatty(1),
        options=options,
    )


def _project(invocation: "Invocation", host: "Host") -> "Project":
    """Return what the project's file says. Raises UsageError."""
    from rootless.container.project import FILE, find_project, read_project, settings_files
    from rootless.host.paths import home_directory

    named = invocation.text("project")
    if named:
        return read_project(named, host.uid, host.gid, trusted=True)
    home = home_directory(host.uid, host.environ)
    cwd = os.getcwd()
    path = find_project(cwd, settings_files(host.environ, home))
    if not path:
        raise UsageError(
            f"no image was named, and there is no {FILE} in {cwd} or above it",
            remedy='rpod shell IMAGE; or write one: image = "docker.io/library/debian:12"',
        )
    return read_project(path, host.uid, host.gid)


def _with_project(host: "Host", asked: ShellRequest, project: "Project") -> ShellRequest:
    """Return the request with the project's defaults below what the command line says."""
    options = dict(asked.options)
    for field, values in (
        ("env", tuple(f"{name}={value}" for name, value in project.env.items())),
        ("volume", project.mounts),
        ("publish", project.ports),
        ("device", project.devices),
    ):
        given = options.get(field, ())
        assert isinstance(given, tuple)
        if values:
            options[field] = (*values, *given)
    if project.workdir:
        options.setdefault("workdir", project.workdir)
    return asked._replace(
        image=project.image or _build(host, project),
        command=asked.command or project.command,
        root=asked.root or project.as_root,
        project=project.directory,
        options=options,
    )


def _build(host: "Host", project: "Project") -> str:
    """Build the project's image, from the cache when nothing has changed; return its name."""
    from rootless.build.engine import build, open_sources
    from rootless.build.finish import check_request, finish
    from rootless.build.request import BuildRequest
    from rootless.build.workplace import Workplace
    from rootless.cli.build_progress import OnlyWork
    from rootless.container.project import image_name

    name = image_name(project.directory)
    request = BuildRequest(
        context=project.context,
        files=(project.containerfile,),
        target=project.target,
        build_args=project.build_args,
        tags=(name,),
    )
    outputs = check_request(request)
    progress = OnlyWork(request)
    with Workplace(host) as workplace, progress:
        opened = open_sources(workplace, request)
        try:
            with Reporter(quiet=False) as reporter:
                done = build(workplace, request, opened, progress, reporter)
        finally:
            opened.context.close()
        finish(workplace, request, list(zip(done.built, done.base_layers, strict=True)), outputs)
    return name


def _run(host: "Host", request: "ContainerRequest") -> int:
    from rootless.container.launch import MonitorProcess

    with MonitorProcess(host, attach=True) as monitor:
        from rootless.container import lifecycle
        from rootless.container.create import create

        with Reporter(quiet=request.quiet) as on_event:
            record = create(host, request, on_event)
        return lifecycle.run_created(host, record, request, monitor).exit_code


def _run_joined(
    invocation: "Invocation", host: "Host", request: "ContainerRequest", given: int
) -> int:
    """Become a rank; `given` words of the command line are the command."""
    from rootless.container.ranks import join

    words = sys.argv[1:]
    prefix = words[: len(words) - given]
    named = invocation.text("image") if given == len(invocation.texts("command")) else ""
    is_plain = bool(named or invocation.text("rootfs")) or prefix[-1:] == ["--"]
    with Reporter(quiet=request.quiet) as on_event:
        tag = invocation.text("join_tag")
        join(host, request, tag, words, prefix, on_event, names_image=is_plain)
    return 125  # not reached: the rank has become its program


def _run_kept(host: "Host", name: str, request: "ContainerRequest") -> int:
    from rootless.container.shell_keep import enter, leave

    try:
        with Reporter(quiet=request.quiet) as on_event:
            return enter(host, name, request, on_event)
    finally:
        sys.stdout.flush()
        leave(host, name)
