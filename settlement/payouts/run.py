"""Payout runs: who is paid what, approval, reservation and hand-over to the bank.

    create -> approve (another person) -> reserve -> hand over -> record what the bank reports (`outcomes`)

Every step is idempotent and leaves the books right if the process dies after it. An attempt is committed before the
bank hears of it, and its id is the key under which the bank knows it. The edge commits after each step. The order of
states is enforced by the database as well (`settlement/sql/0006_payout_states.sql`).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound, Refused
from settlement import posting
from settlement.bank_details import opened_account, sealed_sql, unsealed
from settlement.bank_keys import key_ring
from settlement.ledger import post_transfers, sequence_journals
from settlement.payees import PartyVersion, parties_of
from settlement.payouts.models import (
    BatchEvent,
    Payout,
    PayoutAttempt,
    PayoutBatch,
    PayoutFile,
    batch_state,
    batches,
    find_batch,
    keep_balances,
    lock_payouts,
    record_batch_event,
)
from settlement.payouts.pain001 import (
    MAX_PAYMENTS,
    BankAccount,
    Payment,
    PaymentFile,
    payment_file_chunks,
)
from settlement.payouts.plan import bank_account, closed_terms, plan
from settlement.payouts.provider.models import ProviderBatch
from settlement.payouts.screening import configured_screening, record_screening
from settlement.periods.models import Approval


def create_batch(session: Session, currency: str, execution_date: date, maker: str) -> PayoutBatch:
    """Fix whom a run pays. Posts nothing; a checker must approve exactly this content.

    Raises:
        Conflict: another batch in this currency is unfinished: its payouts would be counted twice.
        Refused: nothing is due.
        Invalid: the platform's own bank details are missing or wrong.
    """
    lock_payouts(session, "payout batches")
    for known, state in batches(session, currency):
        if state in ("draft", "approved", "submitting"):
            raise Conflict(
                f"batch {known.batch_id} is {state}: submit it or cancel it before another one in {currency} is made"
            )
    screening = configured_screening()
    decisions = plan(session, currency, screening=screening)
    if not any(decision.amount for decision in decisions):
        raise Refused(
            f"nobody can be paid in {currency} now; `royalty payout create {currency} --dry-run` shows why"
        )
    debtor_id, debtor_version = _debtor(session, currency)
    prefix = f"{currency}-{execution_date:%Y%m%d}-"
    earlier = select(func.count()).where(PayoutBatch.batch_id.startswith(prefix, autoescape=True))
    batch = PayoutBatch(
        batch_id=f"{prefix}{session.scalars(earlier).one() + 1}",
        currency=currency,
        execution_date=execution_date,
        debtor_id=debtor_id,
        debtor_version=debtor_version,
        maker=maker,
    )
    batch.content_sha256 = _content_digest(
        batch, [(d.payee_id, d.balance, d.amount, d.decision, d.party_version) for d in decisions]
    )
    session.add(batch)
    session.flush()
    session.execute(
        text(
            """
            INSERT INTO settlement.payout (payout_id, batch_id, payee_id, currency, balance_micros, amount_micros,
                                           decision, party_version)
            SELECT :batch || '/' || payee, :batch, payee, :currency, balance, amount, decision, version
            FROM unnest(CAST(:payees AS text[]), CAST(:balances AS bigint[]), CAST(:amounts AS bigint[]),
                        CAST(:decisions AS text[]), CAST(:versions AS bigint[]))
                 AS d (payee, balance, amount, decision, version)
            """
        ),
        {
            "batch": batch.batch_id,
            "currency": currency,
            "payees": [decision.payee_id for decision in decisions],
            "balances": [decision.balance for decision in decisions],
            "amounts": [decision.amount for decision in decisions],
            "decisions": [decision.decision for decision in decisions],
            "versions": [decision.party_version for decision in decisions],
        },
    )
    record_screening(session, batch.batch_id, "create", screening, len(decisions), maker)
    record_batch_event(session, batch.batch_id, "draft", maker)
    session.execute(
        text(
            """
            INSERT INTO settlement.payout_event (payout_id, number, state, detail, actor, occurred_at)
            SELECT payout_id, 1, CASE decision WHEN 'pay' THEN 'ready' ELSE 'held' END,
                   jsonb_build_object('decision', decision), :actor, :at
            FROM settlement.payout WHERE batch_id = :batch
            """
        ),
        {"batch": batch.batch_id, "actor": maker, "at": datetime.now(UTC)},
    )
    return batch


def approve_batch(session: Session, batch_id: str, checker: str) -> None:
    """Approve the content of a batch, as the role `approver`.

    Raises:
        Refused: the checker made the batch herself.
        Conflict: the batch is past approval, or its rows are not what its digest says.
    """
    batch = find_batch(session, batch_id, lock=True)
    if batch.maker == checker:
        raise Refused(f"{checker} made batch {batch_id}: another operator must approve it")
    state = batch_state(session, batch_id)
    if state != "draft":
        raise Conflict(f"batch {batch_id} is {state}: nothing is left to approve")
    _check_content(session, batch)
    # The database moves the batch on (trigger): the approver's role may insert the approval and nothing else.
    session.add(
        Approval(
            kind="payout_batch",
            subject=batch_id,
            content_sha256=batch.content_sha256,
            maker=batch.maker,
            checker=checker,
        )
    )
    session.flush()


def cancel_batch(session: Session, batch_id: str, actor: str) -> None:
    """Give up a batch that has not been submitted.

    Raises:
        Conflict: money has been reserved for it.
    """
    find_batch(session, batch_id, lock=True)
    state = batch_state(session, batch_id)
    if state not in ("draft", "approved"):
        raise Conflict(f"batch {batch_id} is {state}: it cannot be cancelled any more")
    record_batch_event(session, batch_id, "cancelled", actor)
    session.execute(
        text(
            """
            INSERT INTO settlement.payout_event (payout_id, number, state, actor, occurred_at)
            SELECT payout_id, 2, 'cancelled', :actor, :at
            FROM settlement.payout WHERE batch_id = :batch AND decision = 'pay'
            """
        ),
        {"batch": batch_id, "actor": actor, "at": datetime.now(UTC)},
    )


def reserve(
    session: Session,
    batch_id: str,
    actor: str,
    at: datetime,
    *,
    per_file: int = MAX_PAYMENTS,
    provider: str | None = None,
) -> int:
    """Move what the batch pays from payable to clearing, one attempt each; run again, it changes nothing.

    A payee who has come under a hold, is named by a list, is owed less than the batch says or has other bank details
    since it was made is left out, with an event that says why.

    Args:
        session: as the role `payer`.
        batch_id: an approved batch.
        actor: who submits it.
        at: when it is handed to the bank.
        per_file: how many payments the bank takes in one file; which file carries an attempt is fixed here.
        provider: by whose API the batch goes; None: in files. Fixed here, whatever is configured when it is run again.

    Returns:
        Number of attempts.

    Raises:
        Refused: nobody has approved this content, or nobody in it can be paid any more.
        Conflict: the batch is cancelled, or its rows are not what was approved.
    """
    batch = find_batch(session, batch_id, lock=True)
    state = batch_state(session, batch_id)
    if state == "draft":
        raise Refused(
            f"batch {batch_id} is not approved: another operator runs `royalty payout approve {batch_id}`"
        )
    if state == "cancelled":
        raise Conflict(f"batch {batch_id} is cancelled: nothing is left to submit")
    if state != "approved":
        return session.scalars(
            select(func.count())
            .select_from(PayoutAttempt)
            .join(Payout, Payout.payout_id == PayoutAttempt.payout_id)
            .where(Payout.batch_id == batch_id)
        ).one()
    if per_file < 1:
        raise Invalid(f"a file cannot have {per_file} payments: set PAYOUT_FILE_LIMIT to what the bank takes")
    _check_content(session, batch)
    checker = session.scalars(
        select(BatchEvent.actor).where(BatchEvent.batch_id == batch_id, BatchEvent.state == "approved")
    ).one()
    record_batch_event(session, batch_id, "submitting", actor)
    if provider is not None:
        session.add(ProviderBatch(batch_id=batch_id, provider=provider, actor=actor))
        session.flush()
    keep_balances(session, batch.currency)
    left_out = _left_out(session, batch, actor)
    session.execute(
        text(
            """
            INSERT INTO settlement.payout_event (payout_id, number, state, detail, actor, occurred_at)
            SELECT :batch || '/' || payee, 2, 'cancelled', jsonb_build_object('why', why), :actor, :at
            FROM unnest(CAST(:payees AS text[]), CAST(:whys AS text[])) AS l (payee, why)
            """
        ),
        {
            "batch": batch_id,
            "payees": list(left_out),
            "whys": list(left_out.values()),
            "actor": actor,
            "at": at,
        },
    )
    attempts = session.scalars(
        text(
            """
            WITH attempt AS (
                INSERT INTO settlement.payout_attempt (attempt_id, payout_id, number, amount_micros, file)
                SELECT :batch || '-' || place || '-1', payout_id, 1, amount_micros, (place - 1) / :per_file + 1
                FROM (SELECT *, row_number() OVER (ORDER BY payee_id COLLATE "C") AS place
                      FROM settlement.payout AS p WHERE batch_id = :batch AND decision = 'pay'
                        AND NOT EXISTS (SELECT FROM settlement.payout_event AS e
                                        WHERE e.payout_id = p.payout_id AND e.state = 'cancelled')) AS p
                RETURNING 1
            )
            SELECT count(*) FROM attempt
            """
        ),
        {"batch": batch_id, "per_file": per_file},
    ).one()
    if not attempts:
        raise Refused(
            f"nobody in batch {batch_id} can be paid any more: run `royalty payout cancel {batch_id}`"
        )
    _attempts_event(session, batch_id, 2, "reserved", actor, at)
    reserved = posting.PAYOUT_RESERVED.transfer_sql(
        "t.amount_micros",
        "p.currency::text",
        {"attempt": "t.attempt_id", "payee": "p.payee_id"},
        booked_at="%(at)s::timestamptz",
        actor="%(actor)s",
        approved_by="%(checker)s",
    )
    post_transfers(
        session,
        f"{reserved} FROM settlement.payout AS p"
        " JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id WHERE p.batch_id = %(batch)s",
        {"at": at, "actor": actor, "checker": checker, "batch": batch_id},
    )
    sequence_journals(session)
    return int(attempts)


@dataclass(frozen=True, slots=True)
class BankFile:
    """One file of a batch: ``count`` payments of ``total`` micros together. The bank knows it by its ``message_id``."""

    number: int
    name: str
    message_id: str
    count: int
    total: int


def bank_files(session: Session, batch_id: str) -> list[BankFile]:
    """The files of a reserved batch (pain.001.001.09), in order.

    Raises:
        Conflict: nothing is reserved yet, or the batch goes by a provider: a file would pay it a second time.
    """
    find_batch(session, batch_id)
    way = session.get(ProviderBatch, batch_id)
    if way is not None:
        raise Conflict(f"batch {batch_id} goes by provider {way.provider}: it has no file")
    rows = session.execute(
        select(PayoutAttempt.file, func.count(), func.sum(PayoutAttempt.amount_micros))
        .join(Payout, Payout.payout_id == PayoutAttempt.payout_id)
        .where(Payout.batch_id == batch_id)
        .group_by(PayoutAttempt.file)
        .order_by(PayoutAttempt.file)
    ).all()
    if not rows:
        raise Conflict(f"batch {batch_id} is {batch_state(session, batch_id)}: reserve it first")
    return [
        BankFile(number, f"{message}.pain.001.xml", message, count, int(total))
        for number, count, total in rows
        for message in [message_id(batch_id, number)]
    ]


def message_id(batch_id: str, number: int) -> str:
    """By which the bank knows a file of a batch: the first by the batch's id, the others with their number."""
    return batch_id if number == 1 else f"{batch_id}-{number}"


def file_chunks(session: Session, batch_id: str, number: int) -> Iterator[bytes]:
    """The bytes of one of a batch's files, a piece at a time; the same bytes every time.

    Raises:
        NotFound: the batch has no such file.
        Conflict: nothing is reserved yet, or bank details of it have been erased.
    """
    batch = find_batch(session, batch_id)
    file = next((file for file in bank_files(session, batch_id) if file.number == number), None)
    if file is None:
        raise NotFound(f"batch {batch_id} has no file {number}")
    debtor = session.get(PartyVersion, (batch.debtor_id, batch.debtor_version))
    paying = opened_account(session, batch.debtor_id, batch.debtor_version)
    if debtor is None or paying is None:
        raise erased(batch.debtor_id, batch_id)
    reserved_at = session.scalars(
        select(BatchEvent.recorded_at).where(
            BatchEvent.batch_id == batch_id, BatchEvent.state == "submitting"
        )
    ).one()
    ring = key_ring()
    rows = session.execute(
        text(_PAYMENTS),
        {"batch": batch_id, "file": number, "keys": [key.key_id for key in ring.keys]},
        execution_options={"yield_per": 2_000},
    )

    def payments() -> Iterator[Payment]:
        for attempt_id, amount, payee_id, version, details, key_id, ciphertext in rows:
            if details is None or key_id is None:
                raise erased(payee_id, batch_id)
            account = unsealed(ring, payee_id, version, key_id, ciphertext)
            yield Payment(attempt_id, amount, BankAccount.of(details, account), f"Royalties {batch_id}")

    head = PaymentFile(
        message_id=file.message_id,
        created_at=reserved_at,
        execution_date=batch.execution_date,
        currency=batch.currency,
        debtor=BankAccount.of(debtor.details, paying),
        count=file.count,
        total=file.total,
    )
    yield from payment_file_chunks(head, payments())


# Bank details as they were when the batch was made: what was approved is what is paid to.
_PAYMENTS = f"""
SELECT t.attempt_id, t.amount_micros, p.payee_id, p.party_version, v.details, a.key_id, a.ciphertext
FROM settlement.payout AS p
JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id
LEFT JOIN party.party_version AS v ON v.payee_id = p.payee_id AND v.version = p.party_version
LEFT JOIN LATERAL ({sealed_sql("p.payee_id", "p.party_version")}) AS a ON true
WHERE p.batch_id = :batch AND t.file = :file
ORDER BY p.payee_id COLLATE "C"
"""  # noqa: S608  (made of our own text)


def erased(payee_id: str, batch_id: str) -> Conflict:
    """What is said of a batch whose payments cannot be made again, because bank details of it are gone."""
    return Conflict(f"the bank details of {payee_id} in batch {batch_id} have been erased since it was made")


def handed_over(
    session: Session, batch_id: str, digests: Mapping[int, bytes], actor: str, at: datetime
) -> None:
    """Record that the bank has the batch's files. Running it again with the same bytes changes nothing.

    Args:
        session: as the role `payer`.
        batch_id: a reserved batch.
        digests: the SHA-256 of each of its files, by number.
        actor: who handed them over.
        at: when.

    Raises:
        Conflict: other files were handed over for this batch, or nothing is reserved yet.
    """
    find_batch(session, batch_id, lock=True)
    files = bank_files(session, batch_id)
    if [file.number for file in files] != sorted(digests):
        raise Conflict(f"batch {batch_id} has {len(files)} files: hand all of them over together")
    known = session.scalars(select(PayoutFile).where(PayoutFile.batch_id == batch_id)).all()
    for file in known:
        if file.sha256 != digests[file.number]:
            raise Conflict(f"another file was handed over for batch {batch_id}: compare {file.name}")
    if known:
        return
    state = batch_state(session, batch_id)
    if state != "submitting":
        raise Conflict(f"batch {batch_id} is {state}: reserve it first")
    session.add_all(
        PayoutFile(batch_id=batch_id, number=file.number, name=file.name, sha256=digests[file.number])
        for file in files
    )
    session.flush()
    _attempts_event(session, batch_id, 3, "submitted", actor, at)
    record_batch_event(session, batch_id, "submitted", actor)


def _debtor(session: Session, currency: str) -> tuple[str, int]:
    """The platform as a party and the version of its bank details, which are good."""
    platform = closed_terms(session).platform_payee_id
    version, details = parties_of(session, [platform]).get(platform, (0, {}))
    account = bank_account(details, opened_account(session, platform, version))
    if account is None:
        raise Invalid("the platform has no IBAN to pay from: add it to the catalogue file and load it again")
    if currency != "EUR" and (account.address is None or not account.bic):
        raise Invalid(
            f"a payment in {currency} needs the platform's BIC, town and country: add them to the catalogue file"
        )
    return platform, version


def _content_digest(batch: PayoutBatch, payouts: Iterable[tuple[str, int, int, str, int | None]]) -> bytes:
    """SHA-256 of the batch as JSON with sorted keys, amounts in micros.

    Args:
        batch: the batch.
        payouts: payee, balance, amount, decision and version of the bank details, by payee id.
    """
    content = {
        "currency": batch.currency,
        "execution_date": batch.execution_date.isoformat(),
        "debtor": [batch.debtor_id, batch.debtor_version],
        "payouts": [
            [payee_id, str(balance), str(amount), decision, version]
            for payee_id, balance, amount, decision, version in payouts
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()


def _check_content(session: Session, batch: PayoutBatch) -> None:
    rows = session.execute(
        select(
            Payout.payee_id,
            Payout.balance_micros,
            Payout.amount_micros,
            Payout.decision,
            Payout.party_version,
        )
        .where(Payout.batch_id == batch.batch_id)
        .order_by(Payout.payee_id.collate("C"))
    )
    if _content_digest(batch, rows) != batch.content_sha256:
        raise Conflict(f"the payouts of batch {batch.batch_id} are not what was made: run `royalty verify`")


def _left_out(session: Session, batch: PayoutBatch, actor: str) -> Mapping[str, str]:
    """Why payees of a batch cannot be paid now as it says, by payee id."""
    rows = session.execute(
        select(Payout.payee_id, Payout.amount_micros, Payout.party_version).where(
            Payout.batch_id == batch.batch_id, Payout.decision == "pay"
        )
    ).all()
    checked = {payee_id: version for payee_id, _, version in rows}
    screening = configured_screening()
    decisions = plan(session, batch.currency, checked, screening)
    record_screening(session, batch.batch_id, "submit", screening, len(decisions), actor)
    now = {decision.payee_id: decision for decision in decisions}
    left_out = {}
    for payee_id, amount, version in rows:
        decision = now.get(payee_id)
        if decision is None:
            left_out[payee_id] = "balance"
        elif decision.decision == "bank_details_cooling_off" and decision.party_version != version:
            left_out[payee_id] = "bank_details_changed"
        elif decision.decision != "pay":
            left_out[payee_id] = decision.decision
        elif decision.amount < amount:
            left_out[payee_id] = "balance"
        elif decision.party_version != version:
            left_out[payee_id] = "bank_details_changed"
    return left_out


def _attempts_event(
    session: Session, batch_id: str, number: int, state: str, actor: str, at: datetime
) -> None:
    """The same event, in the same place, for every attempt of a batch."""
    session.execute(
        text(
            """
            INSERT INTO settlement.payout_event (payout_id, number, attempt_id, state, actor, occurred_at)
            SELECT a.payout_id, :number, a.attempt_id, :state, :actor, :at
            FROM settlement.payout_attempt AS a JOIN settlement.payout AS p ON p.payout_id = a.payout_id
            WHERE p.batch_id = :batch
            """
        ),
        {"batch": batch_id, "number": number, "state": state, "actor": actor, "at": at},
    )
