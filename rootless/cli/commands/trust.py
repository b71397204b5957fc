"""image trust show."""

from rootless.cli.output import format_table, write, write_json
from rootless.errors import UsageError
from storage.policy import find_policy
from storage.trust import Rule, trust_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.cli.invocation import Invocation

_HEADINGS = ("TRANSPORT", "NAME", "TYPE", "ID", "STORE")
_OF_REGISTRIES = "docker"


def show(invocation: "Invocation") -> int:
    """Show the rules that images are accepted by."""
    if (action := invocation.text("action")) != "show":
        raise UsageError(
            f"image trust {action}: rpod only shows the policy",
            remedy="edit ~/.config/containers/policy.json (containers-policy.json(5))",
        )
    environment = invocation.host(prepare=False).environ
    if invocation.flag("raw"):
        _, fields = find_policy(environment)
        write_json(fields if fields is not None else {}, indent=4)
        return 0
    rules = trust_rules(environment)
    wanted = invocation.text("registry")
    if wanted:
        named = [one for one in rules if one.scope == wanted]
        rules = named or [one for one in rules if not one.transport]
    if invocation.flag("json"):
        write_json([_document(one) for one in rules])
        return 0
    rows = [_row(one) for one in rules]
    write(format_table(rows if invocation.flag("noheading") else [_HEADINGS, *rows]))
    return 0


def _transport(rule: Rule) -> str:
    return "repository" if rule.transport == _OF_REGISTRIES else rule.transport or "all"


def _row(rule: Rule) -> tuple[str, ...]:
    name = rule.scope if rule.transport else "default"
    return (_transport(rule), name, rule.kind, ", ".join(rule.keys), rule.store)


def _document(rule: Rule) -> dict[str, object]:
    name = rule.scope if rule.transport else "default"
    document: dict[str, object] = {
        "transport": _transport(rule),
        "name": name if rule.transport else "* (default)",
        "repo_name": name,
        "type": rule.kind,
    }
    if rule.keys:
        document["gpg_id"] = ", ".join(rule.keys)
    if rule.store:
        document["sigstore"] = rule.store
    return document
