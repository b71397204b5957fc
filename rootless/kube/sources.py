"""What a pod refers to: config maps, secrets, claims; of the file, of --configmap, of the store."""

import base64

from rootless.errors import UsageError
from rootless.kube.documents import Document, Fields, parse_documents
from storage import lightjson as json
from storage.errors import SecretNotFound, StorageError
from storage.secrets import create_secret, find_secret, list_secrets, remove_secret, secret_data
from storage.volumes import create_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.host.paths import Host

_LABEL = "rpod.kube.secret"


class Sources:
    """The config maps and secrets that documents bring along."""

    def __init__(self, host: "Host", documents: list[Document]) -> None:
        self._host = host
        self._made: list[str] = []
        self._maps = {d.name: config_data(d) for d in documents if d.kind == "ConfigMap"}
        self._secrets = {d.name: secret_values(d) for d in documents if d.kind == "Secret"}

    def config(self, name: str, where: str, *, optional: bool) -> dict[str, bytes]:
        """Return the data of a config map, {} where an optional one is missing."""
        if name not in self._maps:
            if optional:
                return {}
            raise UsageError(
                f"{where}: there is no config map {name}",
                remedy="put it into the same file, or give its file with --configmap",
            )
        return self._maps[name]

    def secret(self, name: str, where: str, *, optional: bool) -> dict[str, bytes]:
        """Return the data of a secret: of the file, or one that `kube play` has kept."""
        if name in self._secrets:
            return self._secrets[name]
        try:
            data = secret_data(self._host.layout, find_secret(self._host.layout, name))
        except SecretNotFound as error:
            if optional:
                return {}
            raise UsageError(
                f"{where}: there is no secret {name}",
                remedy="put it into the same file, or play the file that has it",
            ) from error
        documents = parse_documents(data, f"secret {name}")
        return secret_values(documents[0])

    def key_secret(self, secret: str, key: str, value: bytes) -> str:
        """Keep one key as a secret of its own and return its name: containers copy it."""
        name = f"{secret}.{key}"
        if name not in self._made and not self._is_kept(name):
            self._made.append(name)
        create_secret(
            self._host.layout, name, value or b"\n", labels={_LABEL: secret}, replace=True
        )
        return name

    def _is_kept(self, name: str) -> bool:
        try:
            find_secret(self._host.layout, name)
        except StorageError:
            return False
        return True

    def take_back(self) -> None:
        """Forget the keys that were kept: what was to have them has not come to be."""
        for name in self._made:
            try:
                remove_secret(self._host.layout, find_secret(self._host.layout, name))
            except StorageError:
                continue


def config_data(document: Fields) -> dict[str, bytes]:
    """Return data and binaryData of a config map."""
    found = {key: value.encode() for key, value in document.pairs("data").items()}
    return found | _decoded(document, "binaryData")


def secret_values(document: Fields) -> dict[str, bytes]:
    """Return data and stringData of a secret; the latter wins."""
    plain = {key: value.encode() for key, value in document.pairs("stringData").items()}
    return _decoded(document, "data") | plain


def _decoded(document: Fields, key: str) -> dict[str, bytes]:
    found = {}
    for name, value in document.pairs(key).items():
        try:
            found[name] = base64.b64decode("".join(value.split()), validate=True)
        except ValueError as error:
            # Not the value: it may be confidential.
            raise UsageError(f"{document.where}.{key}.{name}: not base64") from error
    return found


def keep_secret(host: "Host", document: Document) -> str:
    """Keep a Secret document for pods of other files, as podman does; return its id."""
    values = {key: base64.b64encode(v).decode() for key, v in secret_values(document).items()}
    raw = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": document.name},
        "type": document.text("type", "Opaque"),
        "data": values,
    }
    data = json.dumps(raw).encode()
    return create_secret(host.layout, document.name, data, replace=True).id


def drop_secret(host: "Host", document: Document) -> str:
    """Remove what `keep_secret` and `key_secret` have made; return its id, "" when it is gone."""
    for record in list_secrets(host.layout):
        if record.labels.get(_LABEL) == document.name:
            remove_secret(host.layout, record)
    try:
        record = find_secret(host.layout, document.name)
    except StorageError:
        return ""
    remove_secret(host.layout, record)
    return record.id


def make_claim(host: "Host", document: Document) -> str:
    """Make the volume of a PersistentVolumeClaim, unless it is there; return its name."""
    labels = document.part("metadata").pairs("labels")
    return create_volume(host.layout, document.name, labels=labels, exist_ok=True).name
