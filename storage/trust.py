"""What `image trust show` tells: the rules of containers-policy.json(5), one for each scope."""

import os

from storage.policy import GPG, SIGSTORE, find_policy
from storage.record import NamedTuple
from storage.registry.lookaside import find_scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS = {"insecureAcceptAnything": "accept", "reject": "reject", GPG: "signed"}
_ACCEPT_ALL = {"default": [{"type": "insecureAcceptAnything"}]}


class Rule(NamedTuple):
    """One rule; `keys` are files, or "in the policy". `store` is where signatures are, or ""."""

    transport: str
    scope: str
    kind: str
    keys: tuple[str, ...]
    store: str


def trust_rules(environment: "Mapping[str, str]") -> list[Rule]:
    """Return the rules of the policy that holds, the default first. Raises InvalidDocument."""
    _, fields = find_policy(environment)
    rules = _rules("", "", (fields or _ACCEPT_ALL).get("default"), environment)
    transports = (fields or {}).get("transports")
    for transport, scopes in sorted(transports.items()) if isinstance(transports, dict) else ():
        for scope, raw in sorted(scopes.items()) if isinstance(scopes, dict) else ():
            rules += _rules(str(transport), str(scope), raw, environment)
    return rules


def _rules(transport: str, scope: str, raw: object, environment: "Mapping[str, str]") -> list[Rule]:
    rules = []
    for one in raw if isinstance(raw, list) else ():
        fields = one if isinstance(one, dict) else {}
        kind = str(fields.get("type", ""))
        store = find_scope(scope, environment) if transport == "docker" and kind == GPG else ""
        rules.append(Rule(transport, scope, _KINDS.get(kind, kind), _keys(kind, fields), store))
    return rules


def _keys(kind: str, fields: dict[object, object]) -> tuple[str, ...]:
    if kind not in (GPG, SIGSTORE):
        return ()
    paths = fields.get("keyPaths")
    found = [str(path) for path in paths] if isinstance(paths, list) else []
    if path := fields.get("keyPath"):
        found.append(str(path))
    return tuple(os.path.basename(one) for one in found) or ("in the policy",)
