"""Answers that are pages: HTML that stands alone, and that a browser lets do nothing."""

from typing import Any

from fastapi import Response

PAGE: dict[int, dict[str, Any]] = {
    200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
}
"""How OpenAPI describes such an answer."""


def page_answer(document: str) -> Response:
    """A page with its fence: no script, no network, no frame around it, in no cache."""
    return Response(
        document.encode(),
        media_type="text/html",
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline';"
            " frame-ancestors 'none'; sandbox",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )
