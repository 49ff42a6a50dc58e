"""Users of the API, with tokens."""

from collections.abc import Sequence

from database.engine import session
from database.identity import Principal, add_user, issue_token
from database.roles import Role


def user(username: str, scopes: Sequence[str] = (), payees: Sequence[str] = ()) -> dict[str, str]:
    """Make a user; the headers that are hers."""
    with session(Role.IDENTITY) as opened:
        made = add_user(opened, username, "a long password", scopes, payees)
        principal = Principal(made.id, made.username, frozenset(scopes))
    return {"Authorization": f"Bearer {issue_token(principal)}"}
