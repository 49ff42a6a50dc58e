"""Pages of a list: keyset cursors that a client hands back unread, and the `Link` header."""

import base64
import binascii
from typing import Annotated, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from database.errors import Invalid

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=500, description="Items on a page.")]
After = Annotated[
    str | None, Query(max_length=64, description="`next` of the page before; none for the first page.")
]


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: str | None = Field(description="Send it as `cursor` for the next page; null on the last one.")


def position(cursor: str | None) -> int | None:
    """Where a page begins. Raises `Invalid` on what is no cursor of ours."""
    if cursor is None:
        return None
    try:
        number = int.from_bytes(base64.b64decode(cursor.encode("ascii"), b"-_", validate=True))
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Invalid("cursor: is not one of ours; send `next` of the page before, unchanged") from error
    if cursor != _cursor(number) or number >= 2**63:
        raise Invalid("cursor: is not one of ours; send `next` of the page before, unchanged")
    return number


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
