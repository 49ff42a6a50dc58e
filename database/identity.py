"""Users, passwords and access tokens: who is asking, for the command line and the API alike.

Passwords are argon2 hashes that only the role `identity` can read. Access tokens are JWTs (RFC 9068 profile) signed
with Ed25519; the private key is a file under `ROYALTY_HOME`, never in the database. In production an external OIDC
issuer can take the built-in one's place: the API checks issuer, audience and signature the same way.
"""

import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from sqlalchemy import CheckConstraint, ForeignKey, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import Conflict, Invalid, NotFound, Unauthenticated
from database.settings import get_settings

SCOPES = (
    "images:write",
    "sales:write",
    "catalogue:write",
    "runs:write",
    "runs:approve",
    "payouts:write",
    "payouts:approve",
    "statements:read",
    "disputes:write",
    "privacy:write",
)
"""Everything a token can allow. A maker's and a checker's scope of the same thing never meet in one user."""

_CONFLICTING = (("runs:write", "runs:approve"), ("payouts:write", "payouts:approve"))

TOKEN_SECONDS = 8 * 3600

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{1,63}")

_hasher = PasswordHasher()


class User(Base):
    """Somebody who logs in: an operator or an artist."""

    __tablename__ = "user"
    __table_args__ = (
        CheckConstraint("username ~ '^[a-z0-9][a-z0-9._@+-]{1,63}$'", name="username_form"),
        {"schema": "access"},
    )

    id: Mapped[Key]
    username: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    scopes: Mapped[list[str]]
    recorded_at: Mapped[RecordedAt]


class PayeeAccess(Base):
    """Whose statements a user may read. Row-level security of the role `portal` goes by this table."""

    __tablename__ = "payee_access"
    __table_args__ = ({"schema": "access"},)

    user_id: Mapped[int] = mapped_column(ForeignKey(User.id), primary_key=True)
    payee_id: Mapped[str] = mapped_column(primary_key=True)
    recorded_at: Mapped[RecordedAt]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, as a verified token says."""

    user_id: int
    username: str
    scopes: frozenset[str]

    def allows(self, scope: str) -> bool:
        """True if the token carries this scope."""
        return scope in self.scopes


def add_user(
    session: Session, username: str, password: str, scopes: Sequence[str], payees: Sequence[str] = ()
) -> User:
    """Create a user.

    Raises:
        Invalid: a name of another form, an unknown scope, two scopes that must be two people's, or a password under
            8 characters.
        Conflict: the name is taken.
    """
    if not _USERNAME.fullmatch(username):
        raise Invalid(f"{username!r} is no user name: use 2 to 64 lower case letters, digits and . _ @ + -")
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise Invalid(f"unknown scope {unknown[0]}; choose from {', '.join(SCOPES)}")
    for maker, checker in _CONFLICTING:
        if maker in scopes and checker in scopes:
            raise Invalid(f"{maker} and {checker} must be two people's: leave one of them out")
    if len(password) < 8:
        raise Invalid("the password needs at least 8 characters")
    if session.scalar(select(User.id).where(User.username == username)) is not None:
        raise Conflict(f"user {username} exists already; choose another name")
    user = User(username=username, password_hash=_hasher.hash(password), scopes=sorted(scopes))
    session.add(user)
    session.flush()
    session.add_all(PayeeAccess(user_id=user.id, payee_id=payee) for payee in sorted(set(payees)))
    session.flush()
    return user


def grant_payees(session: Session, username: str, payees: Sequence[str]) -> None:
    """Let a user read further payees' statements."""
    user_id = session.scalar(select(User.id).where(User.username == username))
    if user_id is None:
        raise NotFound(f"no user {username}; `royalty users list` shows who there is")
    known = set(session.scalars(select(PayeeAccess.payee_id).where(PayeeAccess.user_id == user_id)))
    session.add_all(PayeeAccess(user_id=user_id, payee_id=payee) for payee in sorted(set(payees) - known))
    session.flush()


def authenticate(session: Session, username: str, password: str) -> Principal:
    """The user with this name and password.

    Raises:
        Unauthenticated: no such user or another password; which of the two is not said.
    """
    user = session.scalar(select(User).where(User.username == username))
    try:
        # A user who does not exist costs the same time as a wrong password: names cannot be probed.
        _hasher.verify(user.password_hash if user is not None else _NOBODY, password)
    except VerificationError as error:
        raise Unauthenticated("user name or password is wrong; try again with `royalty login`") from error
    if user is None:
        raise Unauthenticated("user name or password is wrong; try again with `royalty login`")
    return Principal(user.id, user.username, frozenset(user.scopes))


_NOBODY = _hasher.hash(secrets.token_hex(16))


def issue_token(principal: Principal, seconds: int = TOKEN_SECONDS) -> str:
    """A signed access token (JWT, EdDSA) for a principal who has just authenticated."""
    settings = get_settings()
    key = _signing_key()
    now = int(time.time())
    claims = {
        "iss": settings.token_issuer,
        "aud": settings.token_audience,
        "sub": str(principal.user_id),
        "username": principal.username,
        "scope": " ".join(sorted(principal.scopes)),
        "iat": now,
        "exp": now + seconds,
        "jti": secrets.token_hex(8),
    }
    return jwt.encode(
        {"alg": "Ed25519", "typ": "at+jwt", "kid": key.thumbprint()}, claims, key, algorithms=["Ed25519"]
    )


def verify_token(token: str) -> Principal:
    """The principal of a token whose signature, issuer, audience and expiry hold.

    Raises:
        Unauthenticated: any of them does not.
    """
    settings = get_settings()
    try:
        decoded = jwt.decode(token, _signing_key(), algorithms=["Ed25519"])
        jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": settings.token_issuer},
            aud={"essential": True, "value": settings.token_audience},
            sub={"essential": True},
            exp={"essential": True},
        ).validate(decoded.claims)
        claims = decoded.claims
        return Principal(int(claims["sub"]), str(claims["username"]), frozenset(str(claims["scope"]).split()))
    except (JoseError, ValueError, KeyError) as error:
        raise Unauthenticated("the access token is not valid or has expired; log in again") from error


def public_keys() -> dict[str, object]:
    """The JWKS (RFC 7517) with which others verify our tokens."""
    return {"keys": [{**_signing_key().as_dict(private=False), "use": "sig", "alg": "Ed25519"}]}


def _signing_key() -> OKPKey:
    path = get_settings().royalty_home / "keys" / "token-signing.json"
    if not path.exists():
        write_secret(path, json.dumps(OKPKey.generate_key("Ed25519", private=True).as_dict(private=True)))
    return OKPKey.import_key(json.loads(path.read_text()))


def write_secret(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all; whoever comes first wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
