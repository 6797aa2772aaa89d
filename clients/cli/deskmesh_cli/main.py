"""`deskmesh`: runs the stack on this machine and talks to it."""

from collections.abc import Callable

import typer

from deskmesh_cli.commands import (
    account,
    api_keys,
    articles,
    audit,
    budgets,
    chat,
    doctor,
    invitations,
    keys,
    mail,
    members,
    metrics,
    models,
    roles,
    stack,
    token,
    trace,
    usage,
)

COMMANDS: dict[str, Callable[..., None]] = {
    "up": stack.up,
    "down": stack.down,
    "restart": stack.restart,
    "status": stack.status,
    "logs": stack.logs,
    "doctor": doctor.doctor,
    "metrics": metrics.metrics,
    "trace": trace.trace,
    "chat": chat.chat,
    "import": articles.import_folder,
    "token": token.token,
    "account": account.account,
    "mail": mail.mail,
    "keys": keys.keys,
    "usage": usage.usage,
    "budgets": budgets.budgets,
    "orgs": members.organizations,
    "audit": audit.audit,
}

# Commands that take a word of their own first, such as `deskmesh members list`.
GROUPS: dict[str, typer.Typer] = {
    "members": members.app,
    "invitations": invitations.app,
    "roles": roles.app,
    "api-keys": api_keys.app,
    "models": models.app,
}


def build() -> typer.Typer:
    """The application with every command."""
    app = typer.Typer(
        name="deskmesh",
        help="Runs Deskmesh on this machine and talks to it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command in COMMANDS.items():
        app.command(name)(command)
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)
    return app


def main() -> None:
    """Entry point of the `deskmesh` command."""
    build()()
