"""--cache-from and --cache-to: steps of builds in a registry, for other machines.

Each step is an image of its own under the tag `step-<key>`: its one layer, and its record in a
label. Keys are digests of everything that a step can see, so a tag means the same everywhere; that
its layer is what the step makes is what whoever names the repository trusts it for. Digests are
checked as those of any image, and whatever cannot be read is a miss.
"""

import time

from rootless.images import PullSettings, options_for, pull_options
from rootless.registries import load_registries
from storage import lightjson as json
from storage.blobs import read_blob
from storage.build.documents import BuiltImage, write_documents
from storage.build_cache import CachedStep, keep_step
from storage.digest import is_digest
from storage.errors import InvalidDocument, InvalidReference, ManifestUnknown, RegistryError
from storage.events import ignore
from storage.images import describe_image
from storage.oci.checks import as_object, get_text, parse_json
from storage.oci.config import ImageConfig
from storage.oci.descriptor import Descriptor
from storage.oci.manifest import Manifest
from storage.reference import Reference, parse_reference
from storage.registry.client import RegistryClient
from storage.registry.fetch import Work, fetch_blob
from storage.registry.options import PullOptions
from storage.registry.platform import host_platform
from storage.registry.push import push_image
from storage.registry.registries import find_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.build.request import BuildRequest
    from rootless.host.paths import Host

_LABEL = "dev.rpod.build.step"
_TYPE = "type=registry,"


class SharedCache:
    """The repositories that a build reads steps from and writes them to."""

    def __init__(self, host: "Host", request: "BuildRequest") -> None:
        self._host = host
        self._from = request.cache_from
        self._to = request.cache_to
        self._settings = PullSettings(
            tls_verify=request.tls_verify,
            authfile=request.authfile,
            creds=request.creds,
            ca_dir=request.ca_dir,
            retries=request.retries,
            retry_delay_s=request.retry_delay_s,
        )

    def find(self, key: str) -> CachedStep | None:
        """Bring a step into the store; None when no repository has it.

        A registry that fails is noted, and a miss. Raises StoreUnusable, DiskFull.
        """
        for repository in self._from:
            try:
                found = self._fetch(repository, key)
            except ManifestUnknown:
                continue
            except (RegistryError, InvalidDocument) as error:
                self._host.note(f"--cache-from {repository}: {error.message}")
                continue
            keep_step(self._host.layout, found)
            return found
        return None

    def _fetch(self, repository: str, key: str) -> CachedStep:
        reference, options = self._place(repository, key)
        layout = self._host.layout
        client = RegistryClient(reference, options, self._host.environ)
        work = Work(options, ignore)
        document = work.retried(lambda: client.get_manifest(reference.tag or ""))
        where = f"step {key[:12]}"
        manifest = Manifest.from_json(parse_json(document.data, where), where)
        fetch_blob(layout, client, manifest.config, work)
        raw = parse_json(read_blob(layout, manifest.config.digest), where)
        config = ImageConfig.from_json(raw, where)
        step = _read_step(config.labels.get(_LABEL, ""), where)
        layers = tuple(layer.digest for layer in manifest.layers)
        wanted = (step.digest,) if step.digest else ()
        diff_ids = (step.diff_id,) if step.digest else ()
        if step.key != key or layers != wanted or config.diff_ids != diff_ids:
            raise InvalidDocument(f"{where}: its record does not fit its image")
        for layer in manifest.layers:
            fetch_blob(layout, client, layer, work)
        return step

    def put(self, step: CachedStep) -> None:
        """Send a step to every repository that does not have it. Raises RegistryError."""
        for repository in self._to:
            reference, options = self._place(repository, step.key)
            client = RegistryClient(reference, options, self._host.environ)
            try:
                client.head_manifest(reference.tag or "")
            except ManifestUnknown:
                self._send(step, reference, options)

    def _send(self, step: CachedStep, reference: Reference, options: PullOptions) -> None:
        layout = self._host.layout
        own = host_platform()
        layers = (Descriptor(step.media_type, step.digest, step.size),) if step.digest else ()
        image = BuiltImage(
            own.os,
            own.architecture,
            "",
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(step.created_s)),
            "",
            {"Labels": {_LABEL: json.dumps(step._asdict())}},
            layers,
            (step.diff_id,) if step.digest else (),
            (),
            {},
        )
        documents = write_documents(layout, image)
        push_image(
            layout,
            describe_image(layout, documents.manifest_digest, None),
            reference,
            options=options._replace(read_timeout_s=300.0),
            environment=self._host.environ,
        )

    def _place(self, text: str, key: str) -> tuple[Reference, PullOptions]:
        reference = parse_reference(f"{_repository(text)}:step-{key}")
        source = find_sources(load_registries(self._host.environ), reference)[-1]
        return reference, options_for(source, pull_options(self._settings))


def _repository(text: str) -> str:
    """Read REPOSITORY, or `type=registry,ref=REPOSITORY` as BuildKit has it."""
    if not text.startswith(_TYPE):
        return text
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    return fields.get("ref", "")


def check_repository(option: str, text: str) -> None:
    """Refuse what is no repository. Raises InvalidReference."""
    repository = _repository(text)
    reference = parse_reference(repository)
    if ":" in repository.rpartition("/")[2] or reference.digest is not None:
        raise InvalidReference(
            f"{option} {text[:200]}: a repository is expected, without a tag",
            remedy="each step of the build gets a tag of its own there",
        )


def _read_step(text: str, where: str) -> CachedStep:
    try:
        fields = as_object(json.loads(text), where)
    except ValueError as error:
        raise InvalidDocument(f"{where}: there is no record of a step") from error
    size, created_s = fields.get("size"), fields.get("created_s")
    digests = [get_text(fields, name, where) for name in ("digest", "diff_id", "chain_id")]
    if not isinstance(size, int) or not isinstance(created_s, int | float):
        raise InvalidDocument(f"{where}: a broken record of a step")
    if any(digest and not is_digest(digest) for digest in digests):
        raise InvalidDocument(f"{where}: a broken record of a step")
    return CachedStep(
        get_text(fields, "key", where),
        digests[0],
        size,
        digests[1],
        get_text(fields, "media_type", where),
        digests[2],
        get_text(fields, "text", where),
        float(created_s),
    )
