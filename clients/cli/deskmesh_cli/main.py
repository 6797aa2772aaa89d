"""`deskmesh`: runs the stack on this machine and talks to it."""

import sys
from importlib import import_module
from typing import Any

import typer

# Where each is found: module and attribute. Only what a command line names is imported, because some need much.
COMMANDS = {
    "up": "start:up",
    "down": "start:down",
    "restart": "status:restart",
    "status": "status:status",
    "logs": "logs:logs",
    "doctor": "doctor:doctor",
    "metrics": "metrics:metrics",
    "trace": "trace:trace",
    "chat": "chat:chat",
    "import": "articles:import_folder",
    "login": "login:login",
    "logout": "login:logout",
    "token": "token:token",
    "account": "account:account",
    "mail": "mail:mail",
    "keys": "keys:keys",
    "usage": "usage:usage",
    "budgets": "budgets:budgets",
    "orgs": "members:organizations",
    "audit": "audit:audit",
}

# Commands that take a word of their own first, such as `deskmesh members list`.
GROUPS = {
    "tickets": "tickets:app",
    "members": "members:app",
    "invitations": "invitations:app",
    "roles": "roles:app",
    "api-keys": "api_keys:app",
    "programs": "programs:app",
    "sso": "sso:app",
    "models": "models:app",
    "deployments": "deployments:app",
}


def build(only: str = "") -> typer.Typer:
    """The application with every command, or with one if it has one of that name."""
    app = typer.Typer(
        name="deskmesh",
        help="Runs Deskmesh on this machine and talks to it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def deskmesh() -> None:
        """Runs Deskmesh on this machine and talks to it."""

    known = only in COMMANDS or only in GROUPS
    for name, place in COMMANDS.items():
        if name == only or not known:
            app.command(name)(_found(place))
    for name, place in GROUPS.items():
        if name == only or not known:
            app.add_typer(_found(place), name=name)
    return app


def _found(place: str) -> Any:
    module, attribute = place.split(":")
    return getattr(import_module(f"deskmesh_cli.commands.{module}"), attribute)


def main() -> None:
    """Entry point of the `deskmesh` command."""
    build(sys.argv[1] if len(sys.argv) > 1 else "")()
