"""Pages of a list: keyset cursors that a client hands back unread, and the `Link` header."""

import base64
from typing import Annotated, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=500, description="Items on a page.")]
After = Annotated[
    str | None,
    Query(
        # Eight bytes, of which the first is below 128: a BIGINT that is not negative, in its one written form.
        pattern="^[A-Za-f][A-Za-z0-9_-]{9}[AEIMQUYcgkosw048]=$",
        description="`next` of the page before, unchanged; none for the first page.",
    ),
]


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: str | None = Field(description="Send it as `cursor` for the next page; null on the last one.")


def position(cursor: str | None) -> int | None:
    """Where a page begins; None for the first."""
    return None if cursor is None else int.from_bytes(base64.urlsafe_b64decode(cursor))


def next_cursor(request: Request, response: Response, last: int | None) -> str | None:
    """The cursor of the page after the item at `last`, also as a `Link` header; None where there is none."""
    if last is None:
        return None
    cursor = _cursor(last)
    query = urlencode({**request.query_params, "cursor": cursor})
    response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
    return cursor


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(8)).decode()
