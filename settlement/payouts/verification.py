"""Verification of payee: what the bank has said of a name and an account, of the account as it was paid to.

The bank answers for a payment (`pain.002`), and so for the version of the payee's details that the payment went to. An
account that is changed has not been verified yet. A name that does not match has opened a hold when it came; who
releases it sees here what the bank had said, and so does who makes the next batch.
"""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.orm import Session

from settlement.payouts.bank_messages.codes import STATUS, VERIFIED


def verdicts(session: Session, versions: Mapping[str, int]) -> dict[str, str]:
    """What the bank said last of payees' accounts in these versions, where it said anything: code and words.

    Args:
        session: as the role `payer`.
        versions: version of the details by payee.
    """
    rows = session.execute(text(_NEWEST), {"codes": sorted(VERIFIED)})
    return {
        payee_id: f"{code} ({STATUS[code][1]}), payment {attempt_id}"
        for payee_id, version, code, attempt_id in rows
        if versions.get(payee_id) == version
    }


_NEWEST = """
SELECT DISTINCT ON (p.payee_id, p.party_version) p.payee_id, p.party_version, e.status, e.attempt_id
FROM settlement.bank_entry AS e
JOIN settlement.payout_attempt AS t ON t.attempt_id = e.attempt_id
JOIN settlement.payout AS p ON p.payout_id = t.payout_id
WHERE e.status = ANY(CAST(:codes AS text[]))
ORDER BY p.payee_id, p.party_version, e.id DESC
"""
