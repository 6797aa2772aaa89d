"""`docs/policy.md`: the policy as people read it."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from mesh.istio.plan import Plan
from mesh.policy.http import HTTP_RULES
from mesh.policy.table import Rule
from services.common.permissions import OWN, PERMISSIONS, ROLES

PATH = PurePosixPath("docs/policy.md")

INTRODUCTION = """\
<!-- Written by `python -m mesh.policy.generate` from the policy options in protos/. Do not edit. -->
# Who may call what

Each RPC carries its policy in its proto ([ADR 2](adr/0002-one-policy-option.md)). What decides is made from it:

| enforcer | made by | decides |
|---|---|---|
| Envoy at the door | `mesh/envoy`, when the stack starts | which RPCs are open to the outside; whether a token holds |
| Envoy before the models | `mesh/envoy`, when the stack starts | which workload may call which RPC of `inference` |
| Istio | `mesh/istio`, by `python -m mesh.policy.generate` | which workload may call which RPC; whether a token holds |
| the service itself | `mesh/policy/table.py` | all of that again, and whether the person holds the permission |

`tests/security` calls every RPC as every kind of caller through each of them and compares the answers.

`edge` stands for people and programs outside, who come through Envoy. `laptop` is the operator's own identity: what
prepares a new stack, and the commands that look after it. A caller other than `edge` acts for a person by naming that
person under its own certificate. A call that presents a token is refused when the token does not hold, also where none
is needed. "Fresh proof" marks RPCs that want a recent proof of who is there. "Own" beside a role means that the role
holds the permission for what belongs to the person only.
"""


def render(table: Mapping[str, Rule]) -> str:
    """The text of the page."""
    plan = Plan.of(table)
    parts = [INTRODUCTION, *(_of_callee(plan, callee) for callee in plan.callees), _paths(), _roles(table)]
    return "\n".join(parts)


def _of_callee(plan: Plan, callee: str) -> str:
    lines = [f"## {callee}", "", "| RPC | callers | permission | without a token | repeating | rate class |"]
    lines.append("|---|---|---|---|---|---|")
    for rule in plan.of_callee(callee):
        permission = f"`{rule.permission}`" if rule.permission else "–"
        if rule.step_up:
            permission += " (fresh proof)"
        cells = (
            f"`{rule.service.rpartition('.')[2]}.{rule.name}`{' (stream)' if rule.server_streaming else ''}",
            ", ".join(sorted(rule.callers)),
            permission,
            "yes" if rule.anonymous else "no",
            rule.idempotency.lower().replace("_", " "),
            rule.rate_class.lower(),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _paths() -> str:
    served = "Served by the gateway, which checks them as services check RPCs ([OpenAI](openai.md))."
    lines = ["## HTTP", "", served, ""]
    lines += ["| path | permission | repeating | rate class |", "|---|---|---|---|"]
    for rule in HTTP_RULES.values():
        repeating = rule.idempotency.lower().replace("_", " ")
        lines.append(f"| `{rule.method}` | `{rule.permission}` | {repeating} | {rule.rate_class.lower()} |")
    return "\n".join(lines) + "\n"


def _roles(table: Mapping[str, Rule]) -> str:
    lines = ["## Permissions and roles", "", f"| permission | {' | '.join(ROLES)} |", "|---" * (len(ROLES) + 1) + "|"]
    for permission in sorted({rule.permission for rule in (*table.values(), *HTTP_RULES.values()) if rule.permission}):
        lines.append(f"| `{permission}` | {' | '.join(_held(permission))} |")
    return "\n".join(lines) + "\n"


def _held(permission: str) -> Iterator[str]:
    for role in ROLES:
        if permission in PERMISSIONS[role]:
            yield "yes"
        else:
            yield "own" if permission + OWN in PERMISSIONS[role] else "–"
