"""Database roles: who may do what. The grants are SQL files that migrations install.

Every process connects as its own login role, so that a fault in one cannot do the work of another. The embedded server
trusts the operating system's user: there roles guard against mistakes only, not against an adversary.
"""

from enum import StrEnum


class Role(StrEnum):
    """Login roles, and `admin`, the superuser that migrations run as."""

    ADMIN = "admin"
    SETTLEMENT = "settlement"
    ATTRIBUTION = "attribution"
    PORTAL = "portal"
    PAYER = "payer"
    APPROVER = "approver"
    AUDITOR = "auditor"
    IDENTITY = "identity"


LOGIN_ROLES: tuple[Role, ...] = tuple(role for role in Role if role is not Role.ADMIN)
"""Roles that migrations create; `admin` exists on every server already."""
