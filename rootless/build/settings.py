"""What the command line changes in every image that is built: --env, --label, --unset..."""

from rootless.build import image_config
from rootless.build.model import Built
from rootless.build.request import BuildRequest
from rootless.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_INSECURE = "security.insecure"
_HOST_NETWORK = "network.host"


def check_allowed(request: BuildRequest, network: str, security: str) -> None:
    """Refuse what a Containerfile may not ask for by itself. Raises UsageError."""
    if security == "insecure" and _INSECURE not in request.allow:
        raise UsageError(
            "RUN --security=insecure is not allowed", remedy=f"add --allow {_INSECURE}"
        )
    if (
        network == "host"
        and request.run.network != ("host",)
        and _HOST_NETWORK not in request.allow
    ):
        raise UsageError(
            "RUN --network=host is not allowed: it reaches what listens on the host's loopback",
            remedy=f"add --allow {_HOST_NETWORK}, or --network=host for every step",
        )


def with_settings(built: Built, request: BuildRequest, caller: "Mapping[str, str]") -> Built:
    """Return a base image with the variables of --env, and without labels that were unset.

    Raises UsageError.
    """
    config = dict(built.config)
    variables = image_config.environment(config)
    for text in request.env:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"--env {text}: NAME=VALUE is expected")
        if equals:
            variables[name] = value
        elif name in caller:
            variables[name] = caller[name]
    if request.env:
        config["Env"] = [f"{name}={value}" for name, value in variables.items()]
    if not request.inherit_labels:
        config.pop("Labels", None)
    labels = config.get("Labels")
    if request.unset_labels and isinstance(labels, dict):
        config["Labels"] = {k: v for k, v in labels.items() if k not in request.unset_labels}
    return built._replace(config=config)


def finished(built: Built, request: BuildRequest) -> Built:
    """Return what was built with the labels of --label, and without variables that were unset.

    Raises UsageError.
    """
    config = dict(built.config)
    if request.unset_env:
        variables = image_config.environment(config)
        config["Env"] = [f"{k}={v}" for k, v in variables.items() if k not in request.unset_env]
    labels = config.get("Labels")
    found = dict(labels) if isinstance(labels, dict) else {}
    for text in request.labels:
        name, _, value = text.partition("=")
        if not name:
            raise UsageError(f"--label {text}: NAME=VALUE is expected")
        found[name] = value
    if found:
        config["Labels"] = found
    return built._replace(config=config)
