"""Reading resources: whom one is about, and whether its rules match a request."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.security.istio.request import Request

Resource = Mapping[str, Any]


class Unknown(Exception):
    """The manifests use something that is not evaluated here."""


def action_of(policy: Resource) -> str:
    """What a policy does with what matches."""
    return str((policy.get("spec") or {}).get("action", "ALLOW"))


def namespace_of(resource: Resource) -> str:
    """Where it counts, "" without one."""
    return str(resource["metadata"].get("namespace", ""))


def selector_of(resource: Resource) -> Mapping[str, str]:
    """The labels of the pods that it is about; none for all."""
    labels: Mapping[str, str] = (resource.get("spec") or {}).get("selector", {}).get("matchLabels", {})
    return labels


class Facts:
    """A request with what its token says, for the rules to be matched against."""

    def __init__(self, request: Request, claims: Mapping[str, Any] | None, *, identified: bool = True) -> None:
        self._request = request
        self._identified = identified
        self._claims = claims
        self._user = f"{claims['iss']}/{claims['sub']}" if claims else ""

    def match(self, policy: Resource) -> bool:
        """Whether any rule of the policy matches. A policy without rules matches nothing."""
        rules = (policy.get("spec") or {}).get("rules", [])
        # All are evaluated, so that one that is not known is seen.
        results = [self._rule(rule) for rule in rules]
        return any(results)

    def _rule(self, rule: Mapping[str, Any]) -> bool:
        only(rule, "from", "to", "when")
        sources = [self._source(one["source"]) for one in rule.get("from", [])]
        operations = [self._operation(one["operation"]) for one in rule.get("to", [])]
        conditions = [self._condition(one) for one in rule.get("when", [])]
        return (not sources or any(sources)) and (not operations or any(operations)) and all(conditions)

    def _source(self, source: Mapping[str, Any]) -> bool:
        request = self._request
        if not self._identified and {"requestPrincipals", "notRequestPrincipals"} & source.keys():
            raise Unknown("people, before they are known")
        facts = {"principals": request.principal, "requestPrincipals": self._user, "namespaces": request.namespace}
        return fields(source, facts)

    def _operation(self, operation: Mapping[str, Any]) -> bool:
        request = self._request
        if any("{" in path for path in (*operation.get("paths", ()), *operation.get("notPaths", ()))):
            raise Unknown("path templates")
        facts = {"paths": request.path, "methods": request.method, "ports": str(request.port), "hosts": request.host}
        return fields(operation, facts)

    def _condition(self, condition: Mapping[str, Any]) -> bool:
        only(condition, "key", "values", "notValues")
        found = self._attribute(condition["key"])
        wanted, unwanted = condition.get("values"), condition.get("notValues")
        holds = wanted is None or any(matches(pattern, value) for pattern in wanted for value in found)
        return holds and not any(matches(pattern, value) for pattern in unwanted or () for value in found)

    def _attribute(self, key: str) -> list[str]:
        name, _, rest = key.partition("[")
        inner = rest.removesuffix("]")
        claims = self._claims or {}
        if name.startswith("request.auth.") and not self._identified:
            raise Unknown("people, before they are known")
        match name:
            case "request.auth.claims":
                value = claims.get(inner, [])
                return [str(one) for one in value] if isinstance(value, list) else [str(value)]
            case "request.auth.principal":
                return [self._user]
            case "request.headers":
                return [self._request.sent.get(inner, "")]
            case "source.principal":
                return [self._request.principal]
            case "source.namespace":
                return [self._request.namespace]
            case "destination.port":
                return [str(self._request.port)]
            case _:
                raise Unknown(f"condition on {key}")


def fields(wanted: Mapping[str, Any], facts: Mapping[str, str]) -> bool:
    """Fields are all of them, the values of one field any of them; `notX` is the opposite of `x`."""
    negative = {f"not{name[0].upper()}{name[1:]}": name for name in facts}
    only(wanted, *facts, *negative)
    positives = all(any_matches(wanted[name], fact) for name, fact in facts.items() if name in wanted)
    return positives and not any(any_matches(wanted[no], facts[name]) for no, name in negative.items() if no in wanted)


def any_matches(patterns: Iterable[str], value: str) -> bool:
    """Whether one of the patterns does."""
    return any(matches(pattern, value) for pattern in patterns)


def matches(pattern: str, value: str) -> bool:
    """Exact, `prefix*`, `*suffix`, or `*` for anything there is."""
    if pattern == "*":
        return value != ""
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value == pattern


def only(given: Mapping[str, Any], *names: str) -> None:
    """Raises Unknown for any other field."""
    if unknown := given.keys() - set(names):
        raise Unknown(f"fields {sorted(unknown)}")
