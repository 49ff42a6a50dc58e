"""Logging in: user name and password for an access token."""

import threading
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel, Field

from api.limits import AttemptLimit, address_group
from api.problems import documented
from database.engine import session
from database.errors import Refused
from database.identity import TOKEN_SECONDS, authenticate, issue_token, public_keys
from database.roles import Role

router = APIRouter(tags=["access"])

PER_USER_AND_ADDRESS = (10, 300.0)
"""Attempts, and the window in seconds: one person who mistypes."""
PER_ADDRESS = (60, 300.0)
"""One machine that tries many names."""
PER_USER = (100, 300.0)
"""Many machines that try one name; high, because it locks the user out as well."""

_HASHES_AT_ONCE = 4
"""Checking a password takes 64 MiB and a core on purpose: this many at once, the others wait."""


class LoginGuard:
    """Slows down guessing. Every attempt counts, by user and address, by address, and by user."""

    def __init__(
        self,
        per_user_and_address: tuple[int, float] = PER_USER_AND_ADDRESS,
        per_address: tuple[int, float] = PER_ADDRESS,
        per_user: tuple[int, float] = PER_USER,
    ) -> None:
        self._by_both = AttemptLimit(*per_user_and_address)
        self._by_address = AttemptLimit(*per_address)
        self._by_user = AttemptLimit(*per_user)
        self.hashing = threading.BoundedSemaphore(_HASHES_AT_ONCE)

    def take(self, username: str, address: str) -> None:
        """Count an attempt. Raises `TooManyRequests` where a window is full."""
        self._by_address.take(address)
        self._by_both.take(f"{username} {address}")
        self._by_user.take(username)

    def forgive(self, username: str, address: str) -> None:
        """The password was right: this user from this address starts anew."""
        self._by_both.forgive(f"{username} {address}")


class Token(BaseModel):
    """An access token (RFC 6749, section 5.1)."""

    access_token: str = Field(
        description="A JWT (RFC 9068), signed with Ed25519; /.well-known/jwks.json verifies it."
    )
    token_type: str = Field(examples=["bearer"])
    expires_in: int = Field(description="Seconds.", examples=[TOKEN_SECONDS])
    scope: str = Field(examples=["statements:read"])


class KeySet(BaseModel):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]


@router.post(
    "/v1/token", response_model=Token, responses=documented(400, 401, 403, 422, 429), summary="Log in"
)
def create_token(
    request: Request, response: Response, form: Annotated[OAuth2PasswordRequestForm, Depends()]
) -> Token:
    """User name and password for an access token (OAuth 2.0, password grant).

    `scope` narrows the token to some of the user's scopes; without it the token carries all of them.
    """
    guard: LoginGuard = request.app.state.login_guard
    address = address_group(request.client.host if request.client else None)
    username = form.username.strip().lower()[:64].replace("\0", "")
    guard.take(username, address)
    with guard.hashing, session(Role.IDENTITY) as opened:
        principal = authenticate(opened, username, form.password)
    guard.forgive(username, address)
    if form.scopes:
        missing = sorted(set(form.scopes) - principal.scopes)
        if missing:
            raise Refused(
                f"{username} does not have the scope {missing[0]}; ask for fewer, or for none to get all"
            )
        principal = replace(principal, scopes=frozenset(form.scopes))
    response.headers["Cache-Control"] = "no-store"
    return Token(
        access_token=issue_token(principal),
        token_type="bearer",
        expires_in=TOKEN_SECONDS,
        scope=" ".join(sorted(principal.scopes)),
    )


@router.get("/.well-known/jwks.json", response_model=KeySet, summary="Keys that verify our tokens")
def read_public_keys(response: Response) -> dict[str, object]:
    """The public keys, as RFC 7517 has them."""
    response.headers["Cache-Control"] = "public, max-age=3600"
    return public_keys()
