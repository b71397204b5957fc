"""The environment of a container: env, envFrom, $(NAME) in values, commands and arguments."""

from rootless.errors import UsageError
from rootless.kube.documents import Fields
from rootless.kube.sources import Sources
from storage.record import NamedTuple


class PodFacts(NamedTuple):
    """What fieldRef may ask for; `address` is "" where it is not known before the pod runs."""

    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    address: str = ""


def make_variables(
    container: Fields, pod: PodFacts, sources: Sources
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables, and those that are secret: name -> name of the kept secret.

    Raises UsageError.
    """
    plain: dict[str, str] = {}
    secret: dict[str, str] = {}
    for entry in container.parts("envFrom"):
        _take_all(entry, sources, plain, secret)
    for entry in container.parts("env"):
        name = entry.needed("name")
        if "=" in name or not name.isprintable():
            raise UsageError(f"{entry.where}.name: {name!r} is no name of a variable")
        secret.pop(name, None)
        if "valueFrom" not in entry:
            plain[name] = expand(entry.text("value"), plain)
            continue
        plain.pop(name, None)
        _take_one(name, entry.part("valueFrom"), (container, pod, sources), plain, secret)
    return plain, secret


def _take_all(
    entry: Fields, sources: Sources, plain: dict[str, str], secret: dict[str, str]
) -> None:
    prefix = entry.text("prefix")
    if "configMapRef" in entry:
        ref = entry.part("configMapRef")
        optional = bool(ref.flag("optional"))
        for key, value in sources.config(ref.needed("name"), ref.where, optional=optional).items():
            plain[prefix + key] = _decode(value, ref)
            secret.pop(prefix + key, None)
    elif "secretRef" in entry:
        ref = entry.part("secretRef")
        optional, name = bool(ref.flag("optional")), ref.needed("name")
        for key, value in sources.secret(name, ref.where, optional=optional).items():
            secret[prefix + key] = sources.key_secret(name, key, value)
            plain.pop(prefix + key, None)


def _take_one(
    name: str,
    source: Fields,
    known: tuple[Fields, PodFacts, Sources],
    plain: dict[str, str],
    secret: dict[str, str],
) -> None:
    container, pod, sources = known
    if "configMapKeyRef" in source:
        ref = source.part("configMapKeyRef")
        optional = bool(ref.flag("optional"))
        data = sources.config(ref.needed("name"), ref.where, optional=optional)
        if (value := _key(ref, data, optional=optional)) is not None:
            plain[name] = _decode(value, ref)
    elif "secretKeyRef" in source:
        ref = source.part("secretKeyRef")
        optional = bool(ref.flag("optional"))
        data = sources.secret(ref.needed("name"), ref.where, optional=optional)
        if (value := _key(ref, data, optional=optional)) is not None:
            secret[name] = sources.key_secret(ref.needed("name"), ref.needed("key"), value)
    elif "fieldRef" in source:
        plain[name] = _field(source.part("fieldRef"), pod)
    elif "resourceFieldRef" in source:
        ref = source.part("resourceFieldRef")
        kind, _, what = ref.needed("resource").partition(".")
        plain[name] = container.part("resources").part(kind).quantity(what) or "0"
    else:
        raise UsageError(f"{source.where}: no source that a pod can have here")


def _key(ref: Fields, data: dict[str, bytes], *, optional: bool) -> bytes | None:
    key = ref.needed("key")
    if key not in data and not optional:
        raise UsageError(f"{ref.where}: {ref.text('name')} has no key {key}")
    return data.get(key)


def _decode(value: bytes, where: Fields) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{where.where}: the value is not text") from error
    if "\0" in text:
        raise UsageError(f"{where.where}: a variable cannot have a NUL in it")
    return text


def _field(ref: Fields, pod: PodFacts) -> str:
    path = ref.needed("fieldPath")
    for prefix, values in (("labels", pod.labels), ("annotations", pod.annotations)):
        if path.startswith(f"metadata.{prefix}[") and path.endswith("]"):
            return values.get(path[len(prefix) + 10 : -1].strip("'\""), "")
    known = {"metadata.name": pod.name, "metadata.namespace": "default"}
    if pod.address:
        known |= {"status.podIP": pod.address, "status.podIPs": pod.address}
    if path not in known:
        raise UsageError(
            f"{ref.where}.fieldPath: {path}: not known before the pod runs",
            remedy="use metadata.name, metadata.namespace, metadata.labels[...], annotations, or"
            " status.podIP with slirp4netns or kube play --ip",
        )
    return known[path]


def expand(text: str, values: dict[str, str]) -> str:
    """Replace $(NAME) by its value; $$ is a dollar, an unknown name stays."""
    result, rest = "", text
    while rest:
        before, dollar, rest = rest.partition("$")
        result += before
        if not dollar:
            break
        if rest.startswith("$"):
            result, rest = f"{result}$", rest[1:]
        elif rest.startswith("(") and ")" in rest:
            name, _, after = rest[1:].partition(")")
            result, rest = result + values.get(name, f"$({name})"), after
        else:
            result += "$"
    return result
