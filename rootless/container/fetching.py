"""How the image of a new container is fetched, as the options of `run` say it."""

from rootless import images
from rootless.container.request import ContainerRequest
from rootless.errors import UsageError


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
    return images.PullSettings(
        pull=request.pull,
        platform=images.join_platform(
            request.platform, request.arch or "", request.os or "", request.variant or ""
        ),
        tls_verify=request.tls_verify,
        authfile=request.authfile,
        creds=request.creds,
        ca_dir=request.cert_dir,
        retries=max(0, request.retry),
        retry_delay_s=delay_s,
    )
