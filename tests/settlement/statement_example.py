"""The statement of `pay-1` for 2026-11 in the worked example."""

from datetime import date

from settlement.balance import of_which
from settlement.statements.body import (
    Body,
    Column,
    Computation,
    Counts,
    Dispute,
    Earned,
    Earning,
    Entries,
    Entry,
    Header,
    Method,
    PartyReference,
    Pool,
    StatementPeriod,
    Summary,
    TopImage,
    YearToDate,
)
from settlement.statements.detail import Line, summarise

METHOD = "exact-1"


def line(
    sale: str, amount: int, *, refund: str | None = None, day: int, image: str, base: int, slice: int
) -> Line:
    original = f"{sale}/art-1/pay-1"
    return Line(
        line=f"{refund}/{original}" if refund else original,
        kind="refund" if refund else "royalty",
        period="2026-11",
        usage_period="2026-10" if refund else "2026-11",
        usage_date=date(2026, 10 if refund else 11, day),
        territory="DE",
        sale=sale,
        image=image,
        model="sd-v1-5",
        player="art-1",
        method=METHOD,
        share={"img-1": 299_492_386, "img-2": 311_585_366}[image],
        distribution_key="attribution",
        rate_card="standard-1",
        contract="contract-1",
        split=700_000_000,
        base=base,
        slice=slice,
        amount=amount,
        currency="EUR",
        corrects=original if refund else None,
    )


LINES = [
    line("sale-2", -65_433, refund="refund-1", day=6, image="img-2", base=1_000_000, slice=300_000),
    line("sale-5", 62_894, day=8, image="img-1", base=1_000_000, slice=300_000),
    line("sale-6", 26_173, day=9, image="img-2", base=400_000, slice=120_000),
]

BODY = Body(
    header=Header(
        period=StatementPeriod("2026-11", date(2026, 11, 1), date(2026, 12, 1), "UTC"),
        payee=PartyReference("pay-1", "1" * 64),
        platform=PartyReference("platform", "2" * 64),
        currency="EUR",
        rate_cards=("standard-1",),
        contracts=("contract-1",),
    ),
    summary=Summary(
        columns=(
            Column(
                "EUR", opening=184_931, royalties=89_067, refunds=-65_433, payments=-180_000, closing=28_565
            ),
        ),
        of_which=of_which(28_565, 100_000, "EUR", held=False),
    ),
    computation=Computation(
        pools=(Pool("standard-1", "EUR", "per_image", 2, 1_400_000, 420_000, 89_067),),
        sales=Counts(attributed=2),
        images=Counts(attributed=2),
        images_without_file=0,
        methods=(Method(METHOD, "a" * 64),),
    ),
    earnings=(Earning("2026-11", "sd-v1-5", "DE", "EUR", "royalty", 2, 2, 1_400_000, 89_067),),
    history=(Earned("2026-10", 184_931), Earned("2026-11", 89_067)),
    top_images=(
        TopImage("img-2", "art-1", 311_585_366, "EUR", 26_173),
        TopImage("img-1", "art-1", 299_492_386, "EUR", 62_894),
    ),
    lines=summarise(LINES),
    year_to_date=YearToDate("2026", earned=273_998, refunds=-65_433, tax=0, payments=-180_000),
    dispute=Dispute(
        text="Write to us, name the statement and the line, and say what is wrong.",
        contact="royalties@example.com",
        until=date(2027, 11, 30),
    ),
    entries=Entries(
        refunds=(Entry(date(2026, 11, 30), "refund:refund-1:royalties", "EUR", -65_433),),
        payments=(Entry(date(2026, 11, 5), "attempt:payout-1:reserved", "EUR", -180_000),),
    ),
)
