"""Errors a person can act on: one line that says what is wrong and what to do.

The command line prints the message on stderr and exits non-zero; the API turns it into `application/problem+json`
(RFC 9457). Anything else that is raised is a defect and keeps its traceback.
"""

from http import HTTPStatus
from typing import ClassVar


class UserError(Exception):
    """Base of every failure whose message is meant for the person at the other end."""

    code: ClassVar[str] = "error"
    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST

    @property
    def message(self) -> str:
        """The one line to show."""
        return str(self)


class Invalid(UserError):
    """The input cannot be understood or breaks a stated rule."""

    code = "invalid"
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class NotFound(UserError):
    """The thing named does not exist, or the asker may not know that it does."""

    code = "not-found"
    status = HTTPStatus.NOT_FOUND


class Conflict(UserError):
    """The request contradicts what is already recorded."""

    code = "conflict"
    status = HTTPStatus.CONFLICT


class Refused(UserError):
    """The asker is known but may not do this."""

    code = "refused"
    status = HTTPStatus.FORBIDDEN


class Unauthenticated(UserError):
    """Nobody is logged in, or the token is not valid any more."""

    code = "unauthenticated"
    status = HTTPStatus.UNAUTHORIZED


class Unavailable(UserError):
    """Something this needs (database, broker, model, disk) cannot be reached now."""

    code = "unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE
