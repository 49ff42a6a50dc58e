"""Users, passwords and tokens."""

import pytest
from sqlalchemy.orm import Session

from database import identity
from database.errors import Conflict, Invalid, Unauthenticated


def test_password_and_token_round_trip(db: Session) -> None:
    identity.add_user(db, "mara", "a long password", ["runs:write"], ["pay-1"])
    principal = identity.authenticate(db, "mara", "a long password")
    assert identity.verify_token(identity.issue_token(principal)) == principal
    assert principal.allows("runs:write") and not principal.allows("runs:approve")


@pytest.mark.parametrize(("name", "password"), [("mara", "wrong password"), ("nobody", "a long password")])
def test_wrong_password_and_unknown_user_look_the_same(db: Session, name: str, password: str) -> None:
    identity.add_user(db, "mara", "a long password", [])
    with pytest.raises(Unauthenticated, match="user name or password is wrong"):
        identity.authenticate(db, name, password)


def test_tampered_and_expired_tokens_are_refused(db: Session) -> None:
    identity.add_user(db, "mara", "a long password", [])
    principal = identity.authenticate(db, "mara", "a long password")
    token = identity.issue_token(principal)
    head, body, signature = token.split(".")
    for broken in (
        f"{head}.{body}x.{signature}",
        f"{head}.{body}.",
        "nonsense",
        identity.issue_token(principal, -60),
    ):
        with pytest.raises(Unauthenticated):
            identity.verify_token(broken)


def test_maker_and_checker_scopes_do_not_meet(db: Session) -> None:
    with pytest.raises(Invalid, match="two people"):
        identity.add_user(db, "mara", "a long password", ["runs:write", "runs:approve"])
    with pytest.raises(Invalid, match="unknown scope"):
        identity.add_user(db, "mara", "a long password", ["everything"])
    with pytest.raises(Invalid, match="lower case"):
        identity.add_user(db, "Mara", "a long password", [])
    identity.add_user(db, "mara", "a long password", [])
    with pytest.raises(Conflict, match="exists already"):
        identity.add_user(db, "mara", "a long password", [])
