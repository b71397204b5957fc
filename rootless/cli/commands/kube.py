"""kube play, kube down, kube generate."""

import sys

from rootless.cli.output import write
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rootless.cli.invocation import Invocation
    from rootless.kube.documents import Document
    from rootless.kube.translate import PodPlan

_LIMIT_BYTES = 4 << 20


def _read(path: str) -> "list[Document]":
    from rootless.kube.documents import parse_documents

    if path == "-":
        return parse_documents(sys.stdin.buffer.read(_LIMIT_BYTES + 1), "standard input")
    if path.startswith(("http://", "https://")):
        raise UsageError(
            f"read {path}: only files and standard input are read",
            remedy="fetch it and look at it first: curl -fsSL URL | rpod kube play -",
        )
    try:
        with open(path, "rb") as file:
            return parse_documents(file.read(_LIMIT_BYTES + 1), path)
    except OSError as error:
        raise UsageError(f"open {path}: {str(error.strerror).lower()}") from error


def play(invocation: "Invocation") -> int:
    """Make the pods of a file, and start them."""
    if invocation.flag("down"):
        return down(invocation)
    from rootless.cli.progress import Reporter
    from rootless.kube.play import play as play_documents
    from rootless.kube.translate import PlayOptions

    host = invocation.host()
    given = invocation.given
    networks = invocation.texts("network")
    if not networks and host.config.network:
        networks = (host.config.network,)
    fetching = ("authfile", "cert_dir", "creds", "tls_verify")
    options = PlayOptions(
        networks=networks,
        ips=invocation.texts("ip"),
        macs=invocation.texts("mac_address"),
        publish=invocation.texts("publish"),
        publish_all=invocation.flag("publish_all"),
        userns=invocation.text("userns") or host.config.userns or "host",
        no_hosts=invocation.flag("no_hosts"),
        log_driver=invocation.text("log_driver"),
        log_opt=invocation.texts("log_opt"),
        seccomp_root=invocation.text("seccomp_profile_root"),
        annotations=_pairs(invocation.texts("annotation")),
        fetching={name: given[name] for name in fetching if name in given},
        limits=invocation.text("limits"),
    )
    documents = _read(invocation.text("file"))
    maps = [one for path in invocation.texts("configmap") for one in _read(path)]
    with Reporter(quiet=invocation.flag("quiet")) as on_event:
        done = play_documents(
            host,
            documents,
            options,
            config_maps=[one for one in maps if one.kind == "ConfigMap"],
            replace=invocation.flag("replace"),
            start=invocation.flag("start"),
            build=_builder(invocation),
            on_event=on_event,
        )
    _section("Volumes:", done.volumes)
    _section("Secrets:", done.secrets)
    for pod in done.pods:
        _section("Pod:", [pod.pod_id])
        _section("Container:" if len(pod.container_ids) == 1 else "Containers:", pod.container_ids)
        write("\n")
    return 0


def _builder(
    invocation: "Invocation",
) -> "Callable[[list[PodPlan]], list[PodPlan]] | None":
    """Return what builds images from directories with their names; None for --build=false."""
    always = invocation.value("build")
    if invocation.text("context_dir") and always is not True:
        raise UsageError("--build must be specified when using --context-dir option")
    if always is False:
        return None
    import os

    from rootless.kube.building import build_images

    context = os.path.abspath(invocation.text("context_dir") or ".")
    if not os.path.isdir(context):
        raise UsageError(f"--context-dir {context}: not a directory")

    def build_one(directory: str, name: str) -> None:
        from rootless.build.request import BuildRequest
        from rootless.cli.commands.build import run_build

        kind = "quiet" if invocation.flag("quiet") else "auto"
        run_build(invocation.host(), BuildRequest(context=directory, tags=(name,)), kind)

    return lambda plans: build_images(
        invocation.host(), plans, context, build_one, always=always is True
    )


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise UsageError(f"--annotation {text!r}: not KEY=VALUE")
        pairs[key] = value
    return pairs


def _section(title: str, lines: list[str]) -> None:
    if lines:
        write("\n".join([title, *lines]) + "\n")


def down(invocation: "Invocation") -> int:
    """Stop and remove the pods of a file."""
    from rootless.kube.play import down as take_down

    done = take_down(
        invocation.host(), _read(invocation.text("file")), force=invocation.flag("force")
    )
    write("\n".join(["Pods stopped:", *done.stopped, "Pods removed:", *done.removed]) + "\n")
    _section("Secrets removed:", done.secrets)
    _section("Volumes removed:", done.volumes)
    return 0


def generate(invocation: "Invocation") -> int:
    """Describe a pod, containers or volumes."""
    from rootless.kube.generate import generate as describe

    text = describe(
        invocation.host(),
        invocation.texts("names"),
        kind=invocation.text("type"),
        replicas=invocation.number("replicas") or 1,
        service=invocation.flag("service"),
    )
    path = invocation.text("filename")
    if not path:
        write(text)
        return 0
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"cannot write to {path!r}; file exists") from error
    except OSError as error:
        raise UsageError(f"cannot write to {path!r}: {error.strerror}") from error
    return 0
