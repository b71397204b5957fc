"""What a build was asked for: the options of `rpod build` as typed."""

from rootless.build.model import LayerOptions
from rootless.container.request import ContainerRequest
from storage.record import NamedTuple


class BuildRequest(NamedTuple):
    """`context` is a directory, `-`, a URL or a git repository; "" for none.

    `run` has what RUN steps have in common: limits, network, volumes, capabilities.
    """

    context: str = "."
    files: tuple[str, ...] = ()
    ignore_file: str = ""
    target: str = ""
    tags: tuple[str, ...] = ()
    build_args: dict[str, str] = {}  # noqa: RUF012 - a record: never changed
    build_contexts: dict[str, str] = {}  # noqa: RUF012
    platforms: tuple[str, ...] = ()
    base: str = ""
    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    unset_env: tuple[str, ...] = ()
    unset_labels: tuple[str, ...] = ()
    inherit_labels: bool = True
    run: ContainerRequest = ContainerRequest()
    allow: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    # cache
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    cache_ttl_s: float | None = None
    explain_cache: bool = False
    # course
    jobs: int = 0
    all_stages: bool = False
    pull: str = "missing"
    tls_verify: bool | None = None
    authfile: str | None = None
    creds: str | None = None
    ca_dir: str | None = None
    retries: int = 3
    retry_delay_s: float = 2.0
    debug_on_failure: bool = False
    # result
    docker: bool = False
    omit_history: bool = False
    timestamp_s: int | None = None
    rewrite_times: bool = True
    exact_times: bool = False
    manifest: str = ""
    iidfile: str = ""
    metadata_file: str = ""
    squash: bool = False
    squash_all: bool = False
    layers: bool = True
    outputs: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()

    @property
    def layer_options(self) -> LayerOptions:
        """How layers are written."""
        latest_s = self.timestamp_s if self.rewrite_times else None
        return LayerOptions(latest_s=latest_s, exact=self.exact_times and latest_s is not None)
