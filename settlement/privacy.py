"""A person's data: everything held of a payee or customer handed out, or erased while every proof stays valid.

What is erased lies apart from the books for that purpose: schema `party` with its accounts, users of the portal, and
prompts. What stays is what the law has kept and what proofs cover: amounts, shares, digests, opaque ids. An artist's
public name stays too: it stands in the catalogue because pictures are asked for by it, and in other people's prompts.

`settlement/personal_data.py` classifies every column of the database; a test asks for the new ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound, Refused
from settlement.bank_details import opened_account
from settlement.payees import PartyVersion, Payee, PrivacyRequest
from settlement.personal_data import WORDS
from settlement.posting import CLAIM_DECIDED, PAYABLE, RESERVE
from settlement.sales import customer_sha256
from settlement.statements.models import issued_statements

FORMAT = "royalty-personal-data/1"
"""Of an export."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did, and what it leaves to people."""

    erased: int
    """Rows of personal data."""
    files: tuple[str, ...]
    """Files that were written or can have been: nobody but their keeper can erase them."""
    named: tuple[str, ...]
    """Where operators' own words name the person all the same: `settlement.hold.reason: 1`."""
    artists: tuple[str, ...] = ()
    """Artists who are paid to this payee: their public names stay."""


def erase_payee(session: Session, payee_id: str, *, actor: str, reason: str, unpaid: bool = False) -> Erasure:
    """Erase a payee's personal data, as `settlement`. Her books stay, under her opaque id.

    Args:
        session: of the role `settlement`.
        payee_id: whose.
        actor: who does it.
        reason: why, without naming her.
        unpaid: even if something is owed to her: it stays in the books and cannot be paid to her any more.

    Raises:
        NotFound: there is no such payee.
        Refused: it is the platform or the model's developer; or something is owed to her and not ``unpaid``.
        Conflict: she was erased already, a payout of hers is under way, or a claim of her money or by her is undecided.
        Invalid: the reason names her.
    """
    if session.get(Payee, payee_id) is None:
        raise NotFound(f"there is no payee {payee_id}; `royalty catalogue show` has who is paid")
    if _was_erased(session, payee_id):
        raise Conflict(f"the personal data of payee {payee_id} were erased already")
    if session.scalar(
        text(
            "SELECT EXISTS (SELECT FROM settlement.platform_version"
            " WHERE :payee IN (platform_payee_id, model_developer_id))"
        ),
        {"payee": payee_id},
    ):
        raise Refused(f"{payee_id} is the platform or its model's developer: statements must go on naming it")
    if under_way := session.scalar(text(_UNDER_WAY), {"payee": payee_id}):
        raise Conflict(f"payout {under_way} is under way: erase {payee_id} once it is paid or has failed")
    if claimed := session.scalar(text(_CLAIMED), {"payee": payee_id}):
        raise Conflict(f"claim {claimed} is not decided: erase {payee_id} once it is")
    owed = _owed(session, payee_id)
    if owed and not unpaid:
        raise Refused(
            f"{payee_id} is owed {owed}: pay it first, or say --unpaid to erase all the same; it cannot be paid then"
        )
    words = _words_of(session, payee_id)
    if any(word.casefold() in reason.casefold() for word in words):
        raise Invalid(f"the reason stays for ever and names {payee_id}: say it without")
    named = _named(session, words)
    files = _payee_files(session, payee_id)
    artists = session.scalars(text(_ARTISTS), {"payee": payee_id}).all()
    erased = session.execute(
        text("SELECT guard.erase_payee(:payee, :actor, :reason)"),
        {"payee": payee_id, "actor": actor, "reason": reason},
    ).scalar_one()
    return Erasure(erased, files, named, tuple(artists))


def erase_customer(
    session: Session, customer: str, *, actor: str, reason: str, unattributed: bool = False
) -> Erasure:
    """Erase words and pictures of every prompt logged for a customer, and what she bought, as `settlement`.

    Shares, sales and proofs stay.

    Args:
        session: of the role `settlement`.
        customer: the platform's opaque id.
        actor: who does it.
        reason: why, without naming her.
        unattributed: even if pictures of hers are still to be attributed: without words they never will be.

    Raises:
        NotFound: no image was logged for such a customer, and no sale or payee names her.
        Refused: pictures of hers are still to be attributed, and not ``unattributed``.
    """
    images = _customer_images(session, customer)
    waiting = session.scalar(
        text(
            "SELECT count(*) FROM attribution.image AS i JOIN attribution.attribution_job AS j ON j.image_id = i.id"
            " JOIN attribution.prompt_text AS t ON t.image_id = i.id"
            " WHERE i.customer = :customer AND j.state IN ('pending', 'leased')"
        ),
        {"customer": customer},
    )
    if waiting and not unattributed:
        raise Refused(
            f"{waiting} images of customer {customer} are still to be attributed: wait, or say --unattributed to erase"
            " all the same; their artists then get nothing for them"
        )
    erased = session.execute(
        text("SELECT guard.erase_customer(:customer, :actor, :reason)"),
        {"customer": customer, "actor": actor, "reason": reason},
    ).scalar_one()
    return Erasure(erased, tuple(f"images/{row['file']}" for row in images if row["file"]), ())


def export_payee(
    session: Session, payer: Session, identity: Session, payee_id: str, *, actor: str, reason: str
) -> dict[str, Any]:
    """Everything that is held of a payee, by table: amounts in micros, shares in ppb, times in UTC.

    Args:
        session: of the role `settlement`, which keeps the books and records the request.
        payer: of the role `payer`, which alone reads accounts.
        identity: of the role `identity`, which keeps users.
        payee_id: whose.
        actor: who hands them out.
        reason: why.

    Raises:
        NotFound: there is no such payee.
        Unavailable: her account is encrypted under a key that this process does not have.
    """
    if session.get(Payee, payee_id) is None:
        raise NotFound(f"there is no payee {payee_id}; `royalty catalogue show` has who is paid")
    tables = {
        f"settlement.{table}": _rows(
            session,
            f"SELECT to_jsonb(t) AS row FROM settlement.{table} AS t WHERE payee_id = :subject",  # noqa: S608  (our own names)
            payee_id,
        )
        for table in session.scalars(text(_TABLES))
    }
    tables |= {name: _rows(session, query, payee_id) for name, query in _PAYEE_ROWS.items()}
    tables["party.screening_finding"] = _rows(
        payer,
        "SELECT to_jsonb(t) AS row FROM party.screening_finding AS t WHERE payee_id = :subject",
        payee_id,
    )
    tables["access.user"] = _rows(
        identity,
        "SELECT jsonb_build_object('username', u.username, 'scopes', u.scopes, 'recorded_at', u.recorded_at) AS row"
        ' FROM access."user" AS u JOIN access.payee_access AS a ON a.user_id = u.id WHERE a.payee_id = :subject',
        payee_id,
    )
    for row in tables["party.party_version"]:
        account = opened_account(payer, payee_id, row["version"])
        row["account"] = None if account is None else {"iban": account.iban, "bic": account.bic}
    _record_export(session, "payee", payee_id, actor, reason)
    return {
        "format": FORMAT,
        "payee": payee_id,
        "files": list(_payee_files(session, payee_id)),
        "tables": {name: rows for name, rows in sorted(tables.items()) if rows},
    }


def export_customer(session: Session, customer: str, *, actor: str, reason: str) -> dict[str, Any]:
    """Everything that is held of a customer, by table; as `settlement`.

    Raises:
        NotFound: no image was logged for such a customer, and no sale or payee names her.
    """
    images = _customer_images(session, customer)
    tables = {"attribution.image": images} | {
        name: _rows(session, query, customer) for name, query in _CUSTOMER_ROWS.items()
    }
    hashed = customer_sha256(customer).hex()
    tables |= {name: _rows(session, query, hashed) for name, query in _BUYER_ROWS.items()}
    _record_export(session, "customer", customer, actor, reason)
    return {
        "format": FORMAT,
        "customer": customer,
        "files": [f"images/{row['file']}" for row in images if row["file"]],
        "tables": {name: rows for name, rows in sorted(tables.items()) if rows},
    }


def is_payee(session: Session, subject: str) -> bool:
    """Whether an id is a payee's; a customer's otherwise.

    Raises:
        Invalid: it is one of both kinds.
    """
    payee = session.get(Payee, subject) is not None
    customer = session.scalar(
        text("SELECT EXISTS (SELECT FROM attribution.image WHERE customer = :id)"), {"id": subject}
    )
    if payee and customer:
        raise Invalid(f"{subject} is a payee and a customer: say which with --payee or --customer")
    return payee


def _record_export(session: Session, kind: str, subject: str, actor: str, reason: str) -> None:
    session.add(PrivacyRequest(request="export", kind=kind, subject=subject, actor=actor, reason=reason))
    session.flush()


def _was_erased(session: Session, payee_id: str) -> bool:
    found = select(PrivacyRequest).where(
        PrivacyRequest.request == "erase", PrivacyRequest.kind == "payee", PrivacyRequest.subject == payee_id
    )
    return session.scalar(found) is not None


def _owed(session: Session, payee_id: str) -> str:
    """What the books owe a payee or have in reserve for her, as a person reads it; empty: nothing."""
    rows = session.execute(
        text(
            """
            SELECT a.currency, -sum(p.amount)::bigint AS owed FROM ledger.account AS a
            JOIN ledger.posting AS p ON p.account_id = a.id
            WHERE a.code IN (:payable || a.currency, :reserve || a.currency)
            GROUP BY a.currency HAVING sum(p.amount) < 0 ORDER BY a.currency
            """
        ),
        {"payable": f"{PAYABLE.name}:{payee_id}:", "reserve": f"{RESERVE.name}:{payee_id}:"},
    )
    return ", ".join(f"{row.owed} micros of {row.currency}" for row in rows)


def _words_of(session: Session, payee_id: str) -> list[str]:
    """What names a person in clear: of all versions; short or common words would be found everywhere."""
    words: set[str] = set()
    for details in session.scalars(select(PartyVersion.details).where(PartyVersion.payee_id == payee_id)):
        street = (details.get("address") or {}).get("street")
        words.update(str(details[key]) for key in ("name", "email", "tax_id") if details.get(key))
        words.update([street] if street else [])
    return sorted(word for word in words if len(word) >= 4 and word.casefold() != payee_id.casefold())


def _named(session: Session, words: Sequence[str]) -> tuple[str, ...]:
    """Columns of operators' own words that name somebody, with how many rows."""
    found = []
    patterns = [
        "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%" for word in words
    ]
    for table, column in WORDS if words else ():
        count = session.scalar(
            text(f"SELECT count(*) FROM {table} WHERE {column}::text ILIKE ANY (:patterns)"),  # noqa: S608  (our own names)
            {"patterns": patterns},
        )
        if count:
            found.append(f"{table}.{column}: {count}")
    return tuple(found)


def _payee_files(session: Session, payee_id: str) -> tuple[str, ...]:
    """Files outside the database that name a payee: statements as exported, payment files, advice."""
    exported = (
        f"{statement.statement_id.replace('/', '_')}.pdf wherever it was exported or sent"
        for statement in issued_statements(session, payee_id=payee_id)
    )
    paid = session.scalars(text(_PAYMENT_FILES), {"payee": payee_id})
    advised = session.scalars(text(_ADVICE), {"payee": payee_id})
    return (*exported, *paid, *advised, "catalogue files that were loaded", "backups of the database")


def _customer_images(session: Session, customer: str) -> list[dict[str, Any]]:
    images = _rows(
        session,
        "SELECT to_jsonb(i) AS row FROM attribution.image AS i WHERE customer = :subject ORDER BY id",
        customer,
    )
    if not images and not session.scalar(
        text(
            "SELECT EXISTS (SELECT FROM settlement.sale_buyer WHERE customer_sha256 = :hashed)"
            " OR EXISTS (SELECT FROM settlement.payee_customer WHERE customer_sha256 = :hashed)"
        ),
        {"hashed": customer_sha256(customer)},
    ):
        raise NotFound(f"no image was logged for a customer {customer}, and no sale names her")
    return images


def _rows(session: Session, query: str, subject: str) -> list[dict[str, Any]]:
    return [dict(row) for row in session.scalars(text(query), {"subject": subject})]


# A payout that the bank may have been told of, and that has not ended.
_UNDER_WAY = """
SELECT p.payout_id FROM settlement.payout AS p
CROSS JOIN LATERAL (SELECT e.state FROM settlement.payout_event AS e WHERE e.payout_id = p.payout_id
                    ORDER BY e.number DESC LIMIT 1) AS newest
WHERE p.payee_id = :payee AND newest.state IN ('ready', 'reserved', 'submitted', 'accepted', 'unknown')
ORDER BY p.payout_id LIMIT 1
"""
# A colon that names no parameter.
_DECIDED = CLAIM_DECIDED.key_sql(claim="c.claim_id").replace(":", r"\:")
# A claim of her money or by her that still has some in suspense.
_CLAIMED = f"""
SELECT c.claim_id FROM settlement.ownership_claim AS c
WHERE :payee IN (c.payee_id, c.claimant_id) AND c.moved_micros > 0
    AND NOT EXISTS (SELECT FROM ledger.journal AS j WHERE j.key = {_DECIDED})
ORDER BY c.claim_id LIMIT 1
"""  # noqa: S608  (made of the matrix)
_ARTISTS = """
SELECT DISTINCT c.artist_id FROM settlement.contract_version AS c
JOIN settlement.contract_split AS s ON s.contract_version_id = c.id WHERE s.payee_id = :payee ORDER BY 1
"""
_PAYMENT_FILES = """
SELECT DISTINCT 'payouts/' || f.name FROM settlement.payout AS p
JOIN settlement.payout_attempt AS a ON a.payout_id = p.payout_id
JOIN settlement.payout_file AS f ON f.batch_id = p.batch_id AND f.number = a.file WHERE p.payee_id = :payee ORDER BY 1
"""
_ADVICE = """
SELECT DISTINCT 'payment advice of ' || p.payout_id || ', if one was written' FROM settlement.payout AS p
JOIN settlement.payout_attempt AS a ON a.payout_id = p.payout_id WHERE p.payee_id = :payee ORDER BY 1
"""
# Every table of the books that says whose a row is; a new one is handed out as it is made.
_TABLES = """
SELECT c.relname::text FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'settlement' AND c.relkind = 'r' AND a.attname = 'payee_id' AND NOT a.attisdropped ORDER BY 1
"""
_PAYEE_ROWS: Mapping[str, str] = {
    "party.dispute_words": (
        "SELECT to_jsonb(t) AS row FROM party.dispute_words AS t"
        " JOIN settlement.dispute AS d ON d.id = t.dispute_id WHERE d.payee_id = :subject ORDER BY d.id"
    ),
    "settlement.dispute_answer": (
        "SELECT to_jsonb(t) AS row FROM settlement.dispute_answer AS t"
        " JOIN settlement.dispute AS d ON d.id = t.dispute_id WHERE d.payee_id = :subject ORDER BY d.id"
    ),
    "party.party_version": (
        "SELECT to_jsonb(t) AS row FROM party.party_version AS t WHERE payee_id = :subject ORDER BY version"
    ),
    "party.privacy_request": (
        "SELECT to_jsonb(t) AS row FROM party.privacy_request AS t"
        " WHERE subject = :subject AND kind = 'payee' ORDER BY id"
    ),
    "settlement.payout_event": (
        "SELECT to_jsonb(t) AS row FROM settlement.payout_event AS t"
        " JOIN settlement.payout AS p ON p.payout_id = t.payout_id WHERE p.payee_id = :subject ORDER BY t.id"
    ),
    "settlement.hold_release": (
        "SELECT to_jsonb(t) AS row FROM settlement.hold_release AS t"
        " JOIN settlement.hold AS h ON h.id = t.hold_id WHERE h.payee_id = :subject ORDER BY t.hold_id"
    ),
    "ledger.posting": (
        "SELECT jsonb_build_object('journal', j.key, 'account', a.code, 'amount', p.amount, 'currency', p.currency,"
        " 'booked_at', p.booked_at) AS row FROM ledger.posting AS p JOIN ledger.account AS a ON a.id = p.account_id"
        " JOIN ledger.journal AS j ON j.id = p.journal_id"
        " WHERE split_part(a.code, ':', 1) IN ('royalties_payable', 'reserve', 'advances')"
        " AND a.code = split_part(a.code, ':', 1) || ':' || :subject || ':' || a.currency ORDER BY j.id"
    ),
}
_BUYER_ROWS: Mapping[str, str] = {
    "settlement.sale_buyer": (
        "SELECT to_jsonb(t) || jsonb_build_object('sale', s.external_id) AS row FROM settlement.sale_buyer AS t"
        " JOIN settlement.sale AS s ON s.id = t.sale_id WHERE t.customer_sha256 = decode(:subject, 'hex') ORDER BY s.id"
    ),
    "settlement.payee_customer": (
        "SELECT to_jsonb(t) AS row FROM settlement.payee_customer AS t"
        " WHERE t.customer_sha256 = decode(:subject, 'hex') ORDER BY payee_id"
    ),
}
_CUSTOMER_ROWS: Mapping[str, str] = {
    "attribution.prompt_text": (
        "SELECT to_jsonb(t) AS row FROM attribution.prompt_text AS t"
        " JOIN attribution.image AS i ON i.id = t.image_id WHERE i.customer = :subject ORDER BY i.id"
    ),
    "attribution.image_prompt": (
        "SELECT to_jsonb(t) AS row FROM attribution.image_prompt AS t"
        " JOIN attribution.image AS i ON i.id = t.image_id WHERE i.customer = :subject ORDER BY i.id, t.place"
    ),
    "attribution.image_prompt_embedding": (
        "SELECT to_jsonb(t) AS row FROM attribution.image_prompt_embedding AS t"
        " JOIN attribution.image AS i ON i.id = t.image_id WHERE i.customer = :subject ORDER BY i.id, t.place"
    ),
    "attribution.attribution": (
        "SELECT to_jsonb(t) AS row FROM attribution.attribution AS t"
        " JOIN attribution.image AS i ON i.id = t.image_id WHERE i.customer = :subject ORDER BY t.id"
    ),
    "settlement.sale": (
        "SELECT to_jsonb(t) AS row FROM settlement.sale AS t"
        " JOIN attribution.image AS i ON i.id = t.image_id WHERE i.customer = :subject ORDER BY t.id"
    ),
    "party.privacy_request": (
        "SELECT to_jsonb(t) AS row FROM party.privacy_request AS t"
        " WHERE subject = :subject AND kind = 'customer' ORDER BY id"
    ),
}
