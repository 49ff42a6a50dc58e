"""Errors as `application/problem+json` (RFC 9457): one shape for everything that can go wrong with a request.

`type` is a reference relative to the API's root and stable for ever; `GET` it to read what the problem means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from database.errors import Conflict, Invalid, NotFound, Refused, Unauthenticated, Unavailable, UserError

MEDIA_TYPE = "application/problem+json"


class TooManyRequests(UserError):
    """The asker has to wait."""

    code = "too-many-requests"
    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds until the next attempt can succeed."""


class InsufficientScope(Refused):
    """The token is valid, but does not carry any of the scopes that this needs."""

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(f"this needs a token with the scope {' or '.join(scopes)}")
        self.scopes = tuple(scopes)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: what its `type` stands for."""

    code: str
    status: HTTPStatus
    title: str
    meaning: str

    @property
    def type(self) -> str:
        """The problem's `type`."""
        return f"/problems/{self.code}"


def _of(error: type[UserError], title: str, meaning: str) -> Kind:
    return Kind(error.code, error.status, title, meaning)


KINDS: Mapping[str, Kind] = {
    kind.code: kind
    for kind in (
        _of(UserError, "The request failed", "The request cannot be carried out; `detail` says why."),
        _of(
            Invalid,
            "The input is not valid",
            "Part of the input cannot be understood or breaks a stated rule. `errors` names each part, where it is "
            "known, by JSON Pointer (body) or by name (query, path, header).",
        ),
        _of(
            NotFound,
            "There is no such thing",
            "The thing named does not exist, or you may not know that it does.",
        ),
        _of(
            Conflict,
            "The request contradicts what is recorded",
            "For example the same external id with another content. What is recorded stands.",
        ),
        _of(
            Refused,
            "You may not do this",
            "You are known, but your token lacks the scope or the rules forbid it.",
        ),
        _of(
            Unauthenticated,
            "Log in first",
            "The token is missing, not valid or expired, or user name or password are wrong. POST /v1/token gives one.",
        ),
        _of(
            Unavailable,
            "Something this needs is not available",
            "Nothing was recorded. Send the same request again after `Retry-After` seconds.",
        ),
        _of(TooManyRequests, "Too many requests", "Wait `Retry-After` seconds, then send the request again."),
        Kind(
            "malformed",
            HTTPStatus.BAD_REQUEST,
            "The request cannot be read",
            "The body is not what its Content-Type says.",
        ),
        Kind(
            "method-not-allowed",
            HTTPStatus.METHOD_NOT_ALLOWED,
            "This cannot be done with that method",
            "The `Allow` header lists the methods that work here.",
        ),
        Kind(
            "too-large",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "The body is too large",
            "Send the rows in smaller batches.",
        ),
        Kind(
            "defect",
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "A defect on our side",
            "Nothing was recorded. Tell operations the `request_id`: their log holds the rest.",
        ),
    )
}

_OF_STATUS = {kind.status: kind for kind in KINDS.values()}


class FieldError(BaseModel):
    """One part of the input that is wrong."""

    location: str = Field(description="Where: body, query, path or header.", examples=["body"])
    pointer: str | None = Field(
        default=None, description="JSON Pointer (RFC 6901) into the body.", examples=["#/sales/0/currency"]
    )
    name: str | None = Field(
        default=None, description="The parameter's name, outside of a body.", examples=["limit"]
    )
    detail: str = Field(examples=["String should have at least 1 character"])


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(
        description="The kind of problem: a stable reference, relative to the API's root.",
        examples=["/problems/not-found"],
    )
    title: str = Field(examples=["There is no such thing"])
    status: int = Field(examples=[404])
    detail: str = Field(description="One line: what is wrong and what to do.", examples=["no such statement"])
    code: str = Field(description="The last part of `type`.", examples=["not-found"])
    request_id: str = Field(description="Also in the header X-Request-ID and in the log.")
    errors: list[FieldError] | None = Field(
        default=None, description="Each wrong part of the input, if known."
    )


class ProblemKind(BaseModel):
    """What a problem's `type` stands for."""

    type: str
    title: str
    status: int
    meaning: str


def problem_response(
    request_id: str,
    kind: Kind,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[FieldError] | None = None,
) -> JSONResponse:
    """A problem as a response."""
    problem = Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=kind.code,
        request_id=request_id,
        errors=list(errors) if errors else None,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=kind.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the problems that an operation can answer with, beside those that all can."""
    return {int(status): _documented(_OF_STATUS[HTTPStatus(status)]) for status in statuses}


def _documented(kind: Kind) -> dict[str, Any]:
    example = {
        "type": kind.type,
        "title": kind.title,
        "status": int(kind.status),
        "detail": "one line: what is wrong and what to do",
        "code": kind.code,
        "request_id": "2780d5bd17ff7adc0375c2434de41445",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": kind.title, "content": {MEDIA_TYPE: {"schema": schema, "example": example}}}


def _request_id(request: Request) -> str:
    return str(request.state.request_id)


def _user_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UserError)
    headers: dict[str, str] = {}
    match error:
        case TooManyRequests():
            headers["Retry-After"] = str(error.retry_after)
        case Unavailable():
            headers["Retry-After"] = "5"
        # RFC 6750, section 3: no error code where no token was sent.
        case Unauthenticated() if "authorization" not in request.headers:
            headers["WWW-Authenticate"] = 'Bearer realm="royalty"'
        case Unauthenticated():
            headers["WWW-Authenticate"] = 'Bearer realm="royalty", error="invalid_token"'
        case InsufficientScope():
            scopes = " ".join(error.scopes)
            headers["WWW-Authenticate"] = (
                f'Bearer realm="royalty", error="insufficient_scope", scope="{scopes}"'
            )
    return problem_response(_request_id(request), KINDS[error.code], error.message, headers=headers)


def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # Neither the input nor pydantic's context is repeated: they can hold words of a prompt.
    found_errors = error.errors()
    if found_errors[0]["type"] == "json_invalid":
        reason = f"the body is not JSON: {found_errors[0]['ctx']['error']} at character {found_errors[0]['loc'][1]}"
        return problem_response(_request_id(request), KINDS["malformed"], reason)
    errors = [_field_error(found["loc"], str(found["msg"])) for found in found_errors[:100]]
    first = errors[0]
    where = first.pointer or first.name or first.location
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return problem_response(
        _request_id(request), KINDS["invalid"], f"{where}: {first.detail}{more}", errors=errors
    )


def _field_error(location: Sequence[Any], detail: str) -> FieldError:
    place, *path = location
    if place == "body":
        escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
        return FieldError(
            location="body", pointer="#" + "".join(f"/{part}" for part in escaped), detail=detail
        )
    return FieldError(location=str(place), name=".".join(map(str, path)), detail=detail)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    kind = _OF_STATUS.get(status, replace(KINDS["error"], status=status))
    details = {
        HTTPStatus.NOT_FOUND: "there is nothing at this address; /docs lists what there is",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} does not work here; see the Allow header",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is too large; send the rows in smaller batches",
        HTTPStatus.BAD_REQUEST: "the body cannot be read as what its Content-Type says",
    }
    detail = details.get(kind.status, kind.title)
    headers = dict(error.headers or {})
    if kind.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _methods(request) or headers["Allow"]
    return problem_response(_request_id(request), kind, detail, headers=headers)


def _methods(request: Request) -> str:
    """Every method that works at the request's address: a route knows its own only, and another may share its path."""
    path = getattr(request.scope.get("route"), "path_format", "")
    return ", ".join(sorted(method.upper() for method in request.app.openapi()["paths"].get(path, {})))


def _database(request: Request, error: Exception) -> JSONResponse:
    """What the database refuses for reasons that pass; anything else is a defect."""
    original = error.orig if isinstance(error, DBAPIError) else None
    headers = {"Retry-After": "5"}
    match original:
        case psycopg.errors.UniqueViolation():
            message = "the same thing was recorded by another request at this moment; send the request again"
            return problem_response(_request_id(request), KINDS["conflict"], message)
        case psycopg.errors.SerializationFailure() | psycopg.errors.DeadlockDetected():
            message = "another request was in the way; send the request again"
            headers["Retry-After"] = "1"
        case psycopg.errors.QueryCanceled():
            message = "the database took too long; send the request again later"
        case psycopg.OperationalError():
            message = "the database cannot be reached; send the request again later"
        case None:
            message = "the database is busy; send the request again later"
        case _:
            raise error
    return problem_response(_request_id(request), KINDS["unavailable"], message, headers=headers)


def install(app: FastAPI) -> None:
    """Answer every error of this application with a problem."""
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeout, _database)
