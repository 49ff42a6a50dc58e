"""`royalty demo`: the whole job on this machine, from prompts to a payment file, in a story of two periods.

Every step is the one that the commands take, and every step can be taken again: a second run computes and pays nothing
twice, and a run that was killed goes on where it stood.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from sqlalchemy import select

from attribution import jobs
from attribution.ingest import Status
from attribution.prompt_file import PromptFile, read_prompts
from attribution.results import attributed_images
from cli.artists import ensure_recognised
from cli.checkpoints import seal_log
from cli.demo_report import report
from cli.images import generate
from cli.methods import ensure_calibrated
from cli.model import configured_model
from cli.payouts import poll_providers, settle_batch, submit_batch
from cli.periods import approve_draft, close_period, hand_in
from cli.screen import money, progress, show
from cli.statements import export_statements
from database.engine import session
from database.errors import Conflict, Unavailable
from database.identity import User, add_user, authenticate, write_secret
from database.migrate import migrate
from database.roles import Role
from database.settings import get_settings
from settlement.catalogue_file import load_catalogue
from settlement.money import to_decimal
from settlement.payouts.models import batch_rows, batches
from settlement.payouts.provider.http import Network
from settlement.payouts.run import approve_batch, create_batch
from settlement.periods.calendar import find_period
from settlement.sales import RefundRecord, Sale, SaleRecord, record_refunds, record_sales

_BUNDLED = Path(__file__).parent / "bundled"

PERIODS = ("2026-09", "2026-10")
_LATE = 10
"""The last images of the bundled file are logged after the worker has gone home: pending in the first period."""

_MAKER = ("catalogue:write", "images:write", "sales:write", "runs:write", "payouts:write")
_CHECKER = ("runs:approve", "payouts:approve")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(demo)


def demo(
    model: Annotated[
        str | None,
        typer.Option(help="Hub id or directory of a Stable Diffusion v1.5; default: the bundled miniature."),
    ] = None,
) -> None:
    """Generate, attribute, settle, pay and prove, end to end, on this machine."""
    bundled = _BUNDLED / "miniature" if model is None else _choose(model)
    began = time.monotonic()
    show("[bold]1. Model, database, users, catalogue[/bold]")
    configured_model()  # first: without it nothing else is worth doing
    migrate()
    _users()
    with session(Role.SETTLEMENT) as opened:
        load_catalogue(opened, bundled / "catalogue.yaml", actor="mara", reason="demonstration")
    ensure_calibrated()
    ensure_recognised()

    show("[bold]2. Images, logged with prompt and seed; a Celery worker attributes them[/bold]")
    prompts = read_prompts(bundled / "prompts.txt")
    early = _images(replace(prompts, lines=prompts.lines[:-_LATE]))
    _attribute(early)

    show("[bold]3. Sales, and some images that come too late to be attributed in their period[/bold]")
    late = _images(replace(prompts, lines=prompts.lines[-_LATE:]))
    _sell(early, late)

    show(f"[bold]4. Period {PERIODS[0]}: calculated by mara, approved by chen, closed and paid[/bold]")
    _close(PERIODS[0])
    _pay(date(2026, 10, 5), settled_on=date(2026, 10, 7), rejected="pay-keller-estate")

    show(f"[bold]5. Period {PERIODS[1]}: late attributions, a refund, opening balances[/bold]")
    _attribute(late)
    _refund()
    _close(PERIODS[1])
    _pay_by_provider(date(2026, 11, 5))

    show("[bold]6. The log's head, signed; statements with their proofs against it[/bold]")
    checkpoint = seal_log("mara")
    directory = get_settings().royalty_home / "statements"
    for period_id in PERIODS:
        export_statements(period_id, directory)
    report(
        directory,
        PERIODS,
        checkpoint,
        password_file=_password_file(),
        seconds=time.monotonic() - began,
    )


def _choose(model: str) -> Path:
    """Point this process and its children at another model, with a data directory of its own.

    Another model's images are other images: they must not meet the sales and periods of an earlier demonstration.
    """
    home = get_settings().royalty_home
    slug = re.sub(r"[^a-z0-9]+", "-", Path(model).name.lower()).strip("-")
    os.environ["ROYALTY_HOME"] = str(home.with_name(f"{home.name}-{slug}"))
    os.environ["ROYALTY_MODEL"] = model
    os.environ["ROYALTY_DOWNLOAD"] = "true"  # who names a model wants it
    get_settings.cache_clear()
    show(f"data: {os.environ['ROYALTY_HOME']} (set ROYALTY_HOME to it for the commands that follow)")
    return _BUNDLED / "everyday"


def _password_file() -> Path:
    return get_settings().royalty_home / "keys" / "demo-passwords.json"


def _users() -> None:
    """A maker, a checker and two artists, with passwords drawn once and kept beside the keys."""
    path = _password_file()
    if not path.exists():
        write_secret(
            path, json.dumps({name: secrets.token_urlsafe(9) for name in ("mara", "chen", "amara", "lucia")})
        )
    passwords: dict[str, str] = json.loads(path.read_text())
    with session(Role.IDENTITY) as opened:
        known = set(opened.scalars(select(User.username)))
        for name, scopes, payees in (
            ("mara", _MAKER, ()),
            ("chen", _CHECKER, ()),
            ("amara", ("statements:read", "disputes:write"), ("pay-amara",)),
            ("lucia", ("statements:read", "disputes:write"), ("pay-lucia",)),
        ):
            if name not in known:
                add_user(opened, name, passwords[name], scopes, payees)
            authenticate(opened, name, passwords[name])


def _images(prompts: PromptFile) -> list[str]:
    """Make and log what is not logged yet; external ids in the order of the lines."""
    made = generate(prompts)
    if made.bad:
        raise Conflict(f"the bundled prompts were changed: line {made.bad[0].number} {made.bad[0].reason}")
    return [line.external_id for line in made.lines]


def _attribute(images: list[str]) -> None:
    """Run workers, in processes of their own, until these images are attributed; nothing to do if they are.

    A second run must not attribute the late images before their period is cut off, so it looks before it starts one.
    """
    with session(Role.ATTRIBUTION) as opened:
        if attributed_images(opened, images) >= set(images):
            return
    log = get_settings().royalty_home / "worker.log"
    command = [sys.executable, "-m", "attribution.worker"]
    with log.open("ab") as output, progress("attributing") as advance:
        # One for each core: a worker renders on as many threads as its method version names, which is one.
        workers = [
            subprocess.Popen(command, stdout=output, stderr=output)
            for _ in range(min(4, os.cpu_count() or 1))
        ]
        try:
            while True:
                with session(Role.ATTRIBUTION) as opened:
                    done = attributed_images(opened, images)
                    failed = jobs.status(opened).failed
                advance(len(done), len(images))
                if len(done) == len(images):
                    return
                if failed:
                    raise Unavailable(
                        f"{failed} images could not be attributed: `royalty attribution status` says why"
                    )
                if any(worker.poll() is not None for worker in workers):
                    raise Unavailable(
                        f"a worker is gone (see {log}): run the same command again, nothing is lost"
                    )
                time.sleep(0.3)
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
            for worker in workers:
                worker.wait()


def _sell(early: list[str], late: list[str]) -> None:
    """Customers buy: most images once in the first period, some again in the second. The same sales every time."""
    drawn = Random(7)
    sales = []
    for number, image in enumerate([*early, *late], start=1):
        for month, chance in ((9, 1.0 if image in late else 0.9), (10, 0.6)):
            day, hour, cents = drawn.randint(2, 27), drawn.randint(7, 20), drawn.randint(400, 3900)
            territory = drawn.choice(("DE", "FR", "IT", "NL"))
            if drawn.random() >= chance:
                continue
            sales.append(
                SaleRecord.model_validate(
                    {
                        "external_id": f"sale-{number:03}-{month:02}",
                        "image": image,
                        "sold_at": datetime(2026, month, day, hour, tzinfo=UTC),
                        "territory": territory,
                        "currency": "EUR",
                        "price": f"{cents * 119 // 100 // 100}.{cents * 119 // 100 % 100:02}",
                        "tax": f"{(cents * 119 // 100 - cents) // 100}.{(cents * 119 // 100 - cents) % 100:02}",
                        "payment_fee": "0.35",
                    }
                )
            )
    with session(Role.SETTLEMENT) as opened:
        outcomes = record_sales(opened, sales, actor="mara")
    refused = [outcome for outcome in outcomes if outcome.status is Status.REFUSED]
    if refused:
        raise Conflict(f"sale {refused[0].external_id}: {refused[0].reason}")
    show(f"{len(sales)} sales over two periods")


def _refund() -> None:
    """One customer gets her money back in the second period for what she bought in the first."""
    with session(Role.SETTLEMENT) as opened:
        sale = opened.scalars(
            select(Sale).where(Sale.sold_at < datetime(2026, 10, 1, tzinfo=UTC)).order_by(Sale.id)
        ).first()
        assert sale is not None
        refund = RefundRecord.model_validate(
            {
                "external_id": "refund-001",
                "sale": sale.external_id,
                "refunded_at": datetime(2026, 10, 12, 9, tzinfo=UTC),
                "amount": to_decimal(sale.price_micros),
            }
        )
        record_refunds(opened, [refund], actor="mara")


def _close(period_id: str) -> None:
    """Calculate as mara, approve as chen, close as mara; from wherever the period stands."""
    with session(Role.SETTLEMENT) as opened:
        state = find_period(opened, period_id).state
    if state == "closed":
        show(f"{period_id} is closed already")
        return
    if state != "approved":
        draft = hand_in(period_id, "mara")
        approve_draft(period_id, "chen", draft.sha256.hex())
    closing = close_period(period_id, "mara")
    totals = closing.totals
    show(
        f"{period_id}: {totals.sales} sales ({totals.pending} pending, {totals.unattributed} unattributed),"
        f" {totals.lines} lines, {closing.statements} statements, {closing.journals} journals"
    )


def _pay(execution_date: date, *, settled_on: date, rejected: str) -> None:
    """Make, approve, submit and settle one batch; from wherever it stands. One payment is refused by the bank."""
    batch_id, state = _approved(execution_date)
    if state in ("approved", "submitting"):
        submit_batch(batch_id, "mara", datetime.combine(execution_date, clock(9), UTC))
        state = "submitted"
    if state in ("submitted", "partially_settled"):
        with session(Role.PAYER) as opened:
            rows = batch_rows(opened, batch_id)
        refused = [row.attempt_id for row in rows if row.payee_id == rejected and row.attempt_id]
        settle_batch(batch_id, "mara", datetime.combine(settled_on, clock(9), UTC), refused, [])
    _show_batch(batch_id)


def _pay_by_provider(execution_date: date) -> None:
    """The same by a provider's API, the model bank's: it refuses one payment, leaves one unanswered, returns one."""
    batch_id, state = _approved(execution_date)
    if state in ("approved", "submitting", "submitted", "partially_settled"):
        with _model_bank(execution_date) as control:
            for line in submit_batch(batch_id, "mara", datetime.combine(execution_date, clock(9), UTC)):
                show(f"batch {batch_id}: {line}")
            control("advance", {"days": 10})  # the model bank's clock, not ours
            poll_providers("mara")
    _show_batch(batch_id)


def _approved(execution_date: date) -> tuple[str, str]:
    """The batch of a day and its state, which is approved or later."""
    with session(Role.PAYER) as opened:
        found = [
            (b.batch_id, state) for b, state in batches(opened, "EUR") if b.execution_date == execution_date
        ]
        batch_id, state = (
            found[0] if found else (create_batch(opened, "EUR", execution_date, "mara").batch_id, "draft")
        )
    if state == "draft":
        with session(Role.APPROVER) as opened:
            approve_batch(opened, batch_id, "chen")
        state = "approved"
    return batch_id, state


def _show_batch(batch_id: str) -> None:
    with session(Role.PAYER) as opened:
        rows = batch_rows(opened, batch_id)
    paid = sum(row.amount for row in rows if row.state == "paid")
    others = [f"{row.payee_id} {row.state}" for row in rows if row.attempt_id and row.state != "paid"]
    count = sum(row.state == "paid" for row in rows)
    show(f"batch {batch_id}: {money(paid, 'EUR')} to {count} payees; {', '.join(others) or 'nobody else'}")


@contextmanager
def _model_bank(opens_on: date) -> Iterator[Callable[[str, dict[str, int]], None]]:
    """A model bank in a process of its own, which is paid by while it runs; gives what turns its clock."""
    key = secrets.token_urlsafe(24)
    directory = get_settings().royalty_home / "fakebank"
    command = [sys.executable, "-m", "fakebank", "--directory", str(directory), "--hang", "2"]
    bank = subprocess.Popen(
        [*command, "--now", datetime.combine(opens_on, clock(9), UTC).isoformat()],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "FAKEBANK_KEY": key},
        stdout=subprocess.PIPE,
        text=True,
    )
    configured = {
        "PAYOUT_PROVIDERS": '{"EUR": "modelbank"}',
        "PAYOUT_MODELBANK_KEY": key,
        "PAYOUT_MODELBANK_TIMEOUT_MS": "500",
    }
    try:
        assert bank.stdout is not None
        said = bank.stdout.readline()
        if not said:
            raise Unavailable("the model bank does not start: run the same command again, nothing is lost")
        url = json.loads(said)["url"]
        os.environ.update(configured, PAYOUT_MODELBANK_URL=url)
        get_settings.cache_clear()

        def control(what: str, given: dict[str, int]) -> None:
            network = Network(url, key, timedelta(seconds=10))
            network("POST", f"/control/{what}", json.dumps(given).encode())

        yield control
    finally:
        for name in (*configured, "PAYOUT_MODELBANK_URL"):
            os.environ.pop(name, None)
        get_settings.cache_clear()
        bank.terminate()
        bank.wait()
