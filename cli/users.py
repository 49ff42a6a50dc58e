"""`royalty users`, `login`, `logout`, `whoami`: who may do what."""

import sys
from typing import Annotated

import typer
from sqlalchemy import select

from cli.operator import forget_token, operator, save_token
from cli.screen import show, table
from database import identity
from database.engine import session
from database.roles import Role

group = typer.Typer(no_args_is_help=True, help="Operators and artists who log in.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(group, name="users")
    app.command()(login)
    app.command()(logout)
    app.command()(whoami)


def _password(confirm: bool) -> str:
    """Ask for a password; from a pipe, read one line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=confirm))


@group.command()
def add(
    username: Annotated[str, typer.Argument(help="Lower case letters, digits, . _ @ + -")],
    scope: Annotated[
        list[str] | None, typer.Option(help=f"What she may do: {', '.join(identity.SCOPES)}")
    ] = None,
    payee: Annotated[list[str] | None, typer.Option(help="Whose statements she reads.")] = None,
) -> None:
    """Create a user; the password is asked for, or read from standard input."""
    password = _password(confirm=True)
    with session(Role.IDENTITY) as opened:
        identity.add_user(opened, username, password, scope or [], payee or [])
    show(f"user {username} may {', '.join(scope or ['log in'])}")


@group.command()
def grant(
    username: Annotated[str, typer.Argument()],
    payee: Annotated[list[str], typer.Argument(help="Payee ids.")],
) -> None:
    """Let a user read further payees' statements."""
    with session(Role.IDENTITY) as opened:
        identity.grant_payees(opened, username, payee)
    show(f"{username} reads the statements of {', '.join(payee)}")


@group.command("list")
def list_users() -> None:
    """Show every user with scopes and payees."""
    with session(Role.IDENTITY) as opened:
        users = list(opened.scalars(select(identity.User).order_by(identity.User.username)))
        access = opened.execute(select(identity.PayeeAccess.user_id, identity.PayeeAccess.payee_id)).all()
    payees: dict[int, list[str]] = {}
    for user_id, payee_id in access:
        payees.setdefault(user_id, []).append(payee_id)
    rows = [
        (user.username, ", ".join(user.scopes), ", ".join(sorted(payees.get(user.id, [])))) for user in users
    ]
    show(table("Users", ("user", "scopes", "payees"), rows))


def login(username: Annotated[str, typer.Argument(help="Your user name.")]) -> None:
    """Log in; the following commands are yours."""
    password = _password(confirm=False)
    with session(Role.IDENTITY) as opened:
        principal = identity.authenticate(opened, username, password)
    path = save_token(identity.issue_token(principal))
    show(f"logged in as {username} for {identity.TOKEN_SECONDS // 3600} hours; the token is in {path}")


def logout() -> None:
    """Forget the token."""
    forget_token()
    show("logged out")


def whoami() -> None:
    """Show who is logged in."""
    principal = operator()
    show(f"{principal.username}: {', '.join(sorted(principal.scopes)) or 'no scopes'}")
