"""Who is asking, and whether she may: bearer tokens and scopes."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request

from api.problems import InsufficientScope, documented
from database.errors import Unauthenticated
from database.identity import Principal, verify_token

SECURITY_SCHEME = "oauth2"


class Allowed:
    """Lets in whoever's token carries one of these scopes; any valid token if there are none."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = scopes

    async def __call__(self, request: Request) -> None:
        """Verify the token and remember whose it is.

        Raises:
            Unauthenticated: no token, or one that is not valid.
            InsufficientScope: a token without the scope.
        """
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Unauthenticated(
                "no access token was sent: get one at POST /v1/token, send it as Authorization: Bearer"
            )
        principal = verify_token(token.strip())
        request.state.user_id = principal.user_id
        if self.scopes and not any(principal.allows(scope) for scope in self.scopes):
            raise InsufficientScope(self.scopes)
        request.state.principal = principal


def allowing(
    *scopes: str, problems: tuple[int, ...] = (), responses: Mapping[int, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """A route's arguments: who may use it, and what it can answer with.

    Args:
        scopes: one of them is needed; none: any valid token.
        problems: statuses beside 401, 403 and those that every operation has.
        responses: OpenAPI's description of answers beside the usual one.
    """
    return {
        "dependencies": [Depends(Allowed(*scopes))],
        "openapi_extra": {
            "security": [{SECURITY_SCHEME: [scope]} for scope in scopes] or [{SECURITY_SCHEME: []}]
        },
        "responses": {**documented(401, 403, *problems), **(responses or {})},
    }


def _current(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


Asker = Annotated[Principal, Depends(_current)]
"""The principal of the token; only on routes with `allowing`."""
