"""Known abuses, from prompt to money: `python -m tests.attribution.abuse` prints the table of docs/fairness.md.

Every abuse is a prompt beside an honest one, both with the same seed; each image is attributed by a worker with the
bundled miniature and sold once. The naive rule is what a platform would do without any of this: the pool goes in equal
parts to the content and to every mention of a catalogue name as it is written, times its weight.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from sqlalchemy import text

from attribution.catalogue import Artist, artists, merge_artists, record_artists
from attribution.generate import pipeline_settings
from attribution.generation import ImageRecord
from attribution.ingest import Status, log_images
from attribution.pipeline import load_model
from attribution.registration import configured_method, ensure_method, shipped_recognition, shipped_tables
from attribution.worker import Worker
from cli.periods import approve_draft, close_period, hand_in
from database.engine import embedded_server, session
from database.migrate import migrate
from database.roles import Role
from database.settings import get_settings
from settlement.catalogue_file import load_catalogue
from settlement.own_purchases import record_customers
from settlement.sales import SaleRecord, record_sales

CATALOGUE = Path(__file__).parents[2] / "cli" / "bundled" / "miniature" / "catalogue.yaml"
PERIOD = "2026-09"
PRICE, TAX = "119.00", "19.00"
POOL = 30_000_000
"""Micros that a sale pays out: 30 % of 100 EUR."""

HONEST = "a big star in the style of Amara Diallo and Bruno Keller"
ALONE = "a big star in the style of Amara Diallo"
_PADDING = ", ".join(["masterpiece, best quality, highly detailed, sharp, elegant, intricate"] * 8)
LONG = f"{ALONE}, {_PADDING}"
SHELL = Artist("art-shell", 0, "Keller Works Limited")


@dataclass(frozen=True, slots=True)
class Abuse:
    """Something tried to be paid more, or to have another paid less."""

    name: str
    honest: str
    prompt: str
    gains: str
    """Id of the artist for whom it is tried."""
    tolerance: int = 0
    """Micros that may move all the same: other letters are other tokens, and the picture is another one."""


ABUSES = (
    Abuse("named twice", HONEST, f"{HONEST}, by Bruno Keller, art by Bruno Keller", "art-bruno"),
    Abuse(
        "weighted",
        HONEST,
        "a big star in the style of Amara Diallo and (Bruno Keller:1.9)",
        "art-bruno",
    ),
    Abuse(
        "homoglyphs, so that a rival is not read",
        HONEST,
        HONEST.replace("Amara", "\N{CYRILLIC CAPITAL LETTER A}m\N{CYRILLIC SMALL LETTER A}ra"),
        "art-bruno",
        tolerance=POOL // 100,
    ),
    Abuse(
        "zero-width characters, likewise",
        HONEST,
        HONEST.replace("Amara", "A\N{ZERO WIDTH SPACE}m\N{ZERO WIDTH JOINER}ara"),
        "art-bruno",
        tolerance=POOL // 100,
    ),
    Abuse("two accounts of one person", HONEST, f"{HONEST} and Keller Works Limited", "art-bruno"),
    Abuse("past token 77", LONG, f"{LONG}, in the style of Bruno Keller", "art-bruno"),
    Abuse(
        "as what is depicted",
        ALONE,
        "a portrait of Bruno Keller in the style of Amara Diallo",
        "art-bruno",
    ),
    Abuse("a name the model does not know", HONEST, f"{HONEST} and Hugo Pellerin", "art-hugo"),
)


@dataclass(frozen=True, slots=True)
class Moved:
    """What an abuse moved to whom it was tried for, in micros of one sale."""

    abuse: Abuse
    naive: int
    ours: int


def naive(prompt: str, artists: Sequence[Artist]) -> dict[str, int]:
    """Micros by artist's id by the naive rule."""
    weights = {artist.id: _mentions(prompt, artist.name) for artist in artists}
    whole = 1 + sum(weights.values())
    return {artist_id: int(POOL * weight / whole) for artist_id, weight in weights.items()}


def _mentions(prompt: str, name: str) -> Fraction:
    found = re.findall(rf"{re.escape(name)}(?::([0-9.]+))?", prompt)
    return sum((Fraction(weight or 1) for weight in found), Fraction(0))


def play() -> list[Moved]:
    """Log, attribute, sell and close on the database at hand; needs `ROYALTY_METHOD=quick` and the miniature."""
    model = load_model(device="cpu")
    with session(Role.SETTLEMENT) as opened:
        load_catalogue(opened, CATALOGUE, actor="mara", reason="test")
        # Lucia Keller inherits from Bruno, and buys his pictures.
        record_customers(opened, {"pay-lucia": "customer-lucia"}, actor="mara", reason="test")
    with session(Role.ATTRIBUTION) as opened:
        record_artists(opened, [SHELL], actor="mara", reason="test")
        merge_artists(opened, SHELL.id, "art-bruno", actor="mara", reason="the same tax number")
        ensure_method(
            opened, configured_method(opened, model), shipped_tables(model), shipped_recognition(model)
        )
        prompts = list(dict.fromkeys(p for abuse in ABUSES for p in (abuse.honest, abuse.prompt)))
        settings = {**pipeline_settings(model), "steps": 12, "guidance": 3, "seed": 7}
        log_images(
            opened,
            [ImageRecord(external_id=f"img-{n}", prompt=p, **settings) for n, p in enumerate(prompts)],
        )
    worker = Worker()
    try:
        worker.run(seconds=600, more=lambda: None)
    finally:
        worker.close()
    with session(Role.SETTLEMENT) as opened:
        sales = [
            SaleRecord.model_validate(
                {
                    "external_id": f"sale-{number}",
                    "image": f"img-{number}",
                    "sold_at": datetime(2026, 9, 5, 12, tzinfo=UTC),
                    "territory": "DE",
                    "currency": "EUR",
                    "price": PRICE,
                    "tax": TAX,
                    "buyer": "customer-lucia" if number == 0 else f"customer-{number}",
                }
            )
            for number in range(len(prompts))
        ]
        outcomes = record_sales(opened, sales, actor="mara")
        assert all(outcome.status is Status.RECORDED for outcome in outcomes), outcomes
    draft = hand_in(PERIOD, "mara")
    approve_draft(PERIOD, "chen", draft.sha256.hex())
    close_period(PERIOD, "mara")
    with session(Role.SETTLEMENT) as opened:
        rows = opened.execute(
            text(
                "SELECT i.external_id, l.player, sum(l.amount_micros)::bigint FROM settlement.royalty_line AS l"
                " JOIN settlement.sale AS s ON s.id = l.sale_id JOIN attribution.image AS i ON i.id = s.image_id"
                " WHERE l.player IS NOT NULL GROUP BY 1, 2"
            )
        ).all()
    paid = {(image, player): micros for image, player, micros in rows}
    with session(Role.ATTRIBUTION) as opened:
        everybody = [*artists(opened), SHELL]  # to the naive rule an artist of her own
    found = []
    for abuse in ABUSES:
        before, after = (f"img-{prompts.index(prompt)}" for prompt in (abuse.honest, abuse.prompt))
        ours = paid.get((after, abuse.gains), 0) - paid.get((before, abuse.gains), 0)
        naively = [naive(prompt, everybody) for prompt in (abuse.prompt, abuse.honest)]
        purse = {abuse.gains} | ({SHELL.id} if abuse.gains == "art-bruno" else set())
        gained = [sum(one[owner] for owner in purse) for one in naively]
        found.append(Moved(abuse, gained[0] - gained[1], ours))
    return found


def table(moved: Sequence[Moved]) -> str:
    """As docs/fairness.md has it."""
    lines = ["| abuse | the naive rule moves, EUR | moved here, EUR |", "|---|---:|---:|"]
    lines += [f"| {one.abuse.name} | {one.naive / 1e6:+.2f} | {one.ours / 1e6:+.2f} |" for one in moved]
    return "\n".join(lines)


def main() -> None:
    """Play on a database of its own, and print."""
    with tempfile.TemporaryDirectory(prefix="royalty-abuse-") as home:
        Path(home).chmod(0o755)
        os.environ |= {"ROYALTY_HOME": home, "ROYALTY_METHOD": "quick"}
        get_settings.cache_clear()
        try:
            migrate()
            print(table(play()))
        finally:
            embedded_server().stop()


if __name__ == "__main__":
    main()
