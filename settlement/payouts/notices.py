"""Notices of a changed account, to the contacts that a payee had before the change: the plain text of a mail.

Who has taken over a payee's mail box or talked an operator into another account changes the contact too, in the same
step or some days before: so every contact of the last `CONTACTS_KEPT` is told. Made from the versions of her details,
which nobody can change: the same change gives the same words every time, and none are left once she is erased. Accounts
are masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from settlement.party import Party
from settlement.payees import parties_of
from settlement.rates import platform_at

CONTACTS_KEPT = timedelta(days=90)
"""For how long before a change of the account a contact must have been given up not to be told of it."""


@dataclass(frozen=True, slots=True)
class AccountNotice:
    """A payee's account was changed."""

    payee_id: str
    version: int
    """Of her details, the first with the new account."""
    changed_at: datetime
    contacts: tuple[Party, ...]
    """As she was known before, the earliest first."""
    before: str
    """The account, masked."""
    after: str
    paid_from: datetime | None
    """When the new account may be paid, where there is a time to object."""
    platform: Party

    def text(self) -> str:
        """The plain text of a mail, or of a letter where no mail address was known."""
        contact = self.contacts[0]
        address = contact.address.lines() if contact.address else []
        mails = dict.fromkeys(known.email for known in self.contacts if known.email)
        to = ", ".join(mails or [contact.name, *address])
        waits = (
            f"Nothing is paid there before {self.paid_from:%Y-%m-%d %H:%M} UTC. " if self.paid_from else ""
        )
        reach = f" ({self.platform.email})" if self.platform.email else ""
        return (
            f"To: {to}\n"
            f"Subject: The account that {self.platform.name} pays you on was changed\n\n"
            f"Dear {contact.name},\n\n"
            f"on {self.changed_at:%Y-%m-%d %H:%M} UTC the account that your royalties are paid to was changed.\n\n"
            f"  Before  {self.before}\n"
            f"  Now     {self.after}\n\n"
            f"{waits}If you asked for it, there is nothing to do. If not, tell us at once{reach}.\n\n"
            f"{self.platform.name}\n"
        )


def account_notices(session: Session, since: datetime, now: datetime) -> list[AccountNotice]:
    """The notices of changes from a moment on, by time. A first account is no change, nor is the same one again.

    Args:
        session: as the role `payer`.
        since: an aware time; changes recorded then or later.
        now: by whose terms the platform is named, and the time to object is counted.
    """
    terms = platform_at(session, now)
    cooling_off = timedelta(days=terms.bank_details_cooling_off_days)
    known = parties_of(session, [terms.platform_payee_id]).get(terms.platform_payee_id)
    platform = Party.of(known[1]) if known else Party("(erased)")
    rows: Sequence[tuple[str, int, datetime, str, str, list[dict[str, object]]]] = [
        tuple(row) for row in session.execute(text(_CHANGES), {"since": since, "kept": CONTACTS_KEPT})
    ]
    return [
        AccountNotice(
            payee_id,
            version,
            changed_at,
            tuple(Party.of(known) for known in details),
            before,
            after,
            changed_at + cooling_off if cooling_off else None,
            platform,
        )
        for payee_id, version, changed_at, before, after, details in rows
    ]


# Equal accounts have equal fingerprints under one key; the same account is recorded under the old key too.
_CHANGES = """
WITH account AS (
    SELECT payee_id, version, min(recorded_at) AS recorded_at, min(masked) AS masked
    FROM party.bank_account_version GROUP BY 1, 2
)
SELECT n.payee_id, n.version, n.recorded_at, o.masked, n.masked,
       (SELECT jsonb_agg(p.details ORDER BY p.version) FROM party.party_version AS p
        WHERE p.payee_id = n.payee_id AND p.version < n.version AND NOT EXISTS (
            SELECT FROM party.party_version AS q
            WHERE q.payee_id = p.payee_id AND q.version > p.version AND q.recorded_at <= n.recorded_at - :kept))
FROM account AS n
JOIN LATERAL (SELECT * FROM account AS o WHERE o.payee_id = n.payee_id AND o.version < n.version
              ORDER BY o.version DESC LIMIT 1) AS o ON true
WHERE n.recorded_at >= :since
  AND NOT EXISTS (SELECT FROM party.bank_account_version AS a
                  JOIN party.bank_account_version AS b ON b.key_id = a.key_id AND b.fingerprint = a.fingerprint
                  WHERE a.payee_id = n.payee_id AND a.version = n.version
                    AND b.payee_id = n.payee_id AND b.version = o.version)
ORDER BY n.recorded_at, n.payee_id
"""
