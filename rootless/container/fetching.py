"""How the image of a new container is fetched, as the options of `run` say it."""

from rootless import images
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError, of_option


def _platform(request: ContainerRequest) -> str | None:
    """Return the platform that the options name, checked. Raises UsageError, InvalidReference."""
    words = {"--arch": request.arch, "--os": request.os, "--variant": request.variant}
    platform = images.join_platform(request.platform, *(text or "" for text in words.values()))
    if platform:
        from storage.platform import parse_platform

        for option, word in words.items():
            if word and "/" in word:
                raise UsageError(f"{option} {word!r}: one word is expected")
        with of_option(next((one for one, word in words.items() if word), "--platform")):
            parse_platform(platform)
    return platform


def pull_settings(request: ContainerRequest) -> images.PullSettings:
    """Return how to fetch the image. Raises UsageError."""
    delay_s = 2.0
    if request.retry_delay != "2s":
        from rootless.container.moments import parse_duration

        parsed_s = parse_duration(request.retry_delay)
        if parsed_s is None or parsed_s < 0:
            raise UsageError(
                f"--retry-delay: {request.retry_delay!r} is no duration", remedy="say 2s"
            )
        delay_s = parsed_s
    if request.creds is not None and ":" not in request.creds:
        raise UsageError("--creds: USER:PASSWORD is expected", remedy="or: rpod login")
    return images.PullSettings(
        pull=request.pull,
        platform=_platform(request),
        tls_verify=request.tls_verify,
        authfile=request.authfile,
        creds=request.creds,
        ca_dir=request.cert_dir,
        retries=max(0, request.retry),
        retry_delay_s=delay_s,
    )
