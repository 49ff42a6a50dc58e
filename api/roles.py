"""Acting as a database role whose password this process may not have."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from database.engine import session
from database.errors import Unavailable
from database.roles import Role
from database.settings import get_settings


@contextmanager
def acting(role: Role) -> Iterator[Session]:
    """A session of a role.

    Raises:
        Unavailable: a deployment keeps the role's password from this process; the message says what to do instead.
    """
    settings = get_settings()
    if settings.database_url is not None and settings.password_of(role) is None:
        raise Unavailable(
            f"this server may not act as {role.value}: use the command line, or give this process"
            f" DATABASE_PASSWORD_{role.value.upper()}"
        )
    with session(role) as opened:
        yield opened
