"""build: from a Containerfile to an image."""

import os

from rootless.build.engine import build as build_image
from rootless.build.engine import open_sources
from rootless.build.finish import check_request, finish
from rootless.build.request import BuildRequest
from rootless.build.workplace import Workplace
from rootless.cli.build_progress import Plain, Progress, RawJson
from rootless.cli.commands.build_result import StandardOutput, with_result
from rootless.cli.progress import Reporter
from rootless.container.moments import parse_duration
from rootless.container.request import LIMITS, ContainerRequest
from rootless.errors import UsageError
from rootless.images import join_platform
from rootless.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation
    from rootless.host.paths import Host

_VERSION_LABEL = "io.rpod.version"
_POLICIES = {"true": "always", "false": "missing", "ifmissing": "missing"}


def build(invocation: "Invocation") -> int:
    """Build an image and print its id."""
    request = with_result(make_request(invocation), invocation)
    outputs = check_request(request)
    stdout = StandardOutput(outputs)
    logfile = invocation.text("logfile")
    if logfile:
        _write_to(logfile)
    host = invocation.host()
    quiet = invocation.flag("quiet")
    progress = make_progress("quiet" if quiet else invocation.text("progress"), request)
    with Workplace(host) as workplace, progress:
        opened = open_sources(workplace, request)
        call = "check" if invocation.flag("check") else invocation.text("call")
        if call in ("targets", "outline"):
            from rootless.cli.build_calls import show_outline, show_targets

            return (show_targets if call == "targets" else show_outline)(request, opened)
        wants_check = call in ("check", "lint")
        if wants_check or b"check" in opened.sources[0].data[:1000]:
            from rootless.cli.build_checks import refuse_findings, show_findings

            if wants_check:
                return show_findings(request, opened)
            refuse_findings(request, opened)
        try:
            with Reporter(quiet=quiet) as reporter:
                done = build_image(
                    workplace, request, opened, progress, reporter, tick_s=progress.tick_s
                )
        finally:
            opened.context.close()
        pairs = list(zip(done.built, done.base_layers, strict=True))
        with stdout:
            finished = finish(workplace, request, pairs, outputs)
        if finished.record is not None:
            progress.committed(finished.record, done)
    return 0


def run_build(host: "Host", request: BuildRequest, kind: str) -> None:
    """Build for another command, with the display of this kind."""
    outputs = check_request(request)
    progress = make_progress(kind, request)
    with Workplace(host) as workplace, progress:
        opened = open_sources(workplace, request)
        try:
            with Reporter(quiet=kind == "quiet") as reporter:
                done = build_image(
                    workplace, request, opened, progress, reporter, tick_s=progress.tick_s
                )
        finally:
            opened.context.close()
        pairs = list(zip(done.built, done.base_layers, strict=True))
        finish(workplace, request, pairs, outputs)


def make_progress(kind: str, request: BuildRequest) -> Progress:
    """Return the display for `--progress`."""
    if kind == "quiet":
        return Progress(request)
    if kind == "rawjson":
        return RawJson(request)
    is_terminal = os.isatty(1) and os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"
    if kind == "tty" or (kind == "auto" and is_terminal):
        from rootless.cli.build_terminal import Terminal

        return Terminal(request)
    return Plain(request)


def _write_to(path: str) -> None:
    """Let everything that would be shown go to a file. Raises UsageError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"write --logfile {path}: {error.strerror}") from error
    for standard in (1, 2):
        os.dup2(fd, standard)
    os.close(fd)


def make_request(invocation: "Invocation") -> BuildRequest:
    """Return what the command line asks for. Raises UsageError."""
    context = invocation.value("context")
    files = invocation.texts("file")
    if invocation.flag("stdin") and "-" in (context, *files):
        raise UsageError(
            "--stdin: standard input is the Containerfile or the context already",
            remedy="give it by name, or leave --stdin out",
        )
    ttl = invocation.text("cache_ttl")
    return BuildRequest(
        context=context if isinstance(context, str) else ("" if files else "."),
        files=files,
        ignore_file=invocation.text("ignorefile"),
        target=invocation.text("target"),
        tags=invocation.texts("tag"),
        build_args=_arguments(invocation.texts("build_arg")),
        build_contexts=_contexts(invocation.texts("build_context")),
        platforms=_platforms(invocation),
        base=invocation.text("from"),
        labels=_labels(invocation),
        annotations=invocation.texts("annotation"),
        env=invocation.texts("env"),
        unset_env=invocation.texts("unsetenv"),
        unset_labels=invocation.texts("unsetlabel"),
        inherit_labels=invocation.flag("inherit_labels"),
        run=_run_request(invocation),
        allow=invocation.texts("allow"),
        secrets=invocation.texts("secret"),
        ssh=invocation.texts("ssh"),
        no_cache=invocation.flag("no_cache"),
        no_cache_filter=invocation.texts("no_cache_filter"),
        cache_ttl_s=_seconds("--cache-ttl", ttl) if ttl else None,
        explain_cache=invocation.flag("explain_cache"),
        debug_on_failure=_debug(invocation),
        # Two steps that read at the same time would each get a part.
        jobs=1 if invocation.flag("stdin") else invocation.number("jobs") or 0,
        all_stages=not invocation.flag("skip_unused_stages"),
        pull=_policy(invocation),
        tls_verify=None
        if invocation.value("tls_verify") is None
        else invocation.flag("tls_verify"),
        authfile=invocation.text("authfile") or None,
        creds=invocation.text("creds") or None,
        ca_dir=invocation.text("cert_dir") or None,
        retries=invocation.number("retry") or 0,
        retry_delay_s=_seconds("--retry-delay", invocation.text("retry_delay")),
        docker=invocation.text("format") == "docker",
        omit_history=invocation.flag("omit_history"),
    )


def _platforms(invocation: "Invocation") -> tuple[str, ...]:
    """Return --platform, or the one that --os, --arch and --variant name."""
    platforms = invocation.texts("platform")
    parts = (invocation.text(name) for name in ("arch", "os", "variant"))
    one = join_platform(platforms[0] if platforms else None, *parts)
    return platforms or ((one,) if one else ())


def _run_request(invocation: "Invocation") -> ContainerRequest:
    request = _asked(invocation)
    isolation = invocation.text("isolation")
    if isolation == "default":
        isolation = os.environ.get("BUILDAH_ISOLATION", "")
    if isolation != "chroot":
        return request
    # buildah's words for what needs no namespaces but those of users and mounts.
    network = request.network if request.network not in ((), ("default",)) else ("host",)
    return request._replace(pid="host", ipc="host", uts="host", network=network)


def _asked(invocation: "Invocation") -> ContainerRequest:
    return ContainerRequest(
        add_host=invocation.texts("add_host"),
        cap_add=invocation.texts("cap_add"),
        cap_drop=invocation.texts("cap_drop"),
        device=invocation.texts("device"),
        cgroup_parent=invocation.text("cgroup_parent"),
        cgroupns=_namespace(invocation, "cgroupns"),
        dns=invocation.texts("dns"),
        dns_option=invocation.texts("dns_option"),
        dns_search=invocation.texts("dns_search"),
        group_add=invocation.texts("group_add"),
        http_proxy=invocation.flag("http_proxy"),
        interactive=invocation.flag("stdin"),
        ipc=_namespace(invocation, "ipc"),
        network=(invocation.text("network"),) if invocation.text("network") else (),
        no_hosts=invocation.flag("no_hosts"),
        pid=_namespace(invocation, "pid"),
        security_opt=invocation.texts("security_opt"),
        root_emulation=invocation.text("root_emulation"),
        shm_size=invocation.number("shm_size") or 0,
        ulimit=invocation.texts("ulimit"),
        uts=_namespace(invocation, "uts"),
        volume=invocation.texts("volume"),
        limits=invocation.text("limits"),
        **{name: invocation.value(name) for name in LIMITS},  # type: ignore[arg-type]
    )


def _namespace(invocation: "Invocation", option: str) -> str:
    """Return the mode of a namespace; `container` is buildah's word for one of its own."""
    mode = invocation.text(option)
    return "private" if mode == "container" else mode


def _labels(invocation: "Invocation") -> tuple[str, ...]:
    own = (f"{_VERSION_LABEL}={VERSION}",) if invocation.flag("identity_label") else ()
    return own + invocation.texts("label")


def _debug(invocation: "Invocation") -> bool:
    if invocation.flag("debug_on_failure") and not (os.isatty(0) and os.isatty(1)):
        raise UsageError("--debug-on-failure opens a shell: it needs a terminal")
    return invocation.flag("debug_on_failure")


def _policy(invocation: "Invocation") -> str:
    if invocation.flag("pull_always"):
        return "always"
    if invocation.flag("pull_never"):
        return "never"
    text = invocation.text("pull")
    return _POLICIES.get(text, text)


def _seconds(option: str, text: str) -> float:
    seconds = parse_duration(text)
    if seconds is None or seconds < 0:
        raise UsageError(f"{option} {text}: a duration such as 30s or 2h is expected")
    return seconds


def _arguments(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"--build-arg {text}: NAME=VALUE is expected")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _contexts(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            raise UsageError(f"--build-context {text}: NAME=WHERE is expected")
        found[name] = value
    return found
