"""The statement of `pay-1` for 2026-11 in the worked example."""

from dataclasses import replace
from datetime import date

from settlement.balance import of_which
from settlement.fx import parse_rate
from settlement.statements.body import (
    MOVEMENTS,
    Adjustment,
    AdvanceBalance,
    Body,
    Column,
    Computation,
    Conversion,
    Counts,
    Dispute,
    Earned,
    Earning,
    Entries,
    Entry,
    ForeignYear,
    Header,
    HeldBack,
    Hold,
    Method,
    OpenDispute,
    PartyReference,
    Pool,
    StatementPeriod,
    Summary,
    TaxSum,
    TopImage,
    YearToDate,
)
from settlement.statements.detail import Detail, Line, Total, summarise

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
        text="Name the statement and the line, and say what is wrong.",
        contact="royalties@example.com",
        until=date(2027, 11, 30),
    ),
    entries=Entries(
        refunds=(Entry(date(2026, 11, 30), "refund:refund-1:royalties", "EUR", -65_433),),
        payments=(Entry(date(2026, 11, 5), "attempt:payout-1:reserved", "EUR", -180_000),),
    ),
)


def long_body(rows: int = 400, currency: str = "JPY") -> Body:
    """A statement with ``rows`` rows of earnings, a foreign currency, every section and years of history."""
    earnings = tuple(
        Earning(
            "2026-11",
            f"model-{n % 40:02}",
            f"{'ABCDEFGHIJ'[n // 40]}X",
            currency,
            "royalty",
            3,
            4,
            10**9 + n,
            10**8 + n,
        )
        for n in range(rows)
    )
    royalties = sum(row.amount for row in earnings)
    late, fx = 7_000_000, 812_345_678
    day = date(2026, 11, 30)
    column = Column(
        currency,
        opening=1_000_000_000_000,
        royalties=royalties,
        late=late,
        adjustments=-1_500_000,
        refunds=-20_000_001,
        reserves=-30_000_000,
        recoupment=-40_000_000,
        tax=-50_000_000,
        claims=-60_000_000,
        fx=fx,
        payments=-999_000_000_000,
    )
    closing = column.opening + sum(getattr(column, name) for name in MOVEMENTS)
    dollars = Column("USD", royalties=5_000_000, fx=-5_000_000)
    hold = Hold(date(2026, 11, 3), "hold-1", "bank details came back as closed", expected=date(2026, 12, 24))
    ended = Hold(date(2026, 10, 3), "hold-0", "tax form missing", closed=date(2026, 10, 9))
    adjustment = Adjustment(
        "adj-1/sale-2/art-1/pay-1",
        "sale-2/art-1/pay-1",
        "2026-09",
        currency,
        9_500_000,
        8_000_000,
        -1_500_000,
        "The rate card of September was applied to a sale of October.",
    )
    pool = Pool("standard-1", currency, "period_pool", 4 * rows, 10**9 * rows, 5 * royalties, royalties)
    return replace(
        BODY,
        header=replace(BODY.header, currency=currency, rate_cards=("promo-7", "standard-1")),
        summary=Summary(
            (replace(column, closing=closing), dollars), of_which(closing, 100_000, currency, held=True)
        ),
        computation=replace(
            BODY.computation,
            pools=(pool, replace(pool, rate_card="promo-7", currency="USD", sales=1, own=5_000_000)),
            sales=Counts(123_456, 789, 12),
            images_without_file=1_234,
        ),
        earnings=(
            *earnings,
            Earning("2026-10", "model-00", "AX", currency, "late", 1, 1, 70_000_000, late),
            Earning("2026-11", "model-00", "AX", "USD", "royalty", 1, 1, 50_000_000, 5_000_000),
        ),
        history=(
            *(Earned(f"{2024 + n // 12}-{n % 12 + 1:02}", 10**9 * (n * n % 17) + n) for n in range(34)),
            Earned("2026-11", royalties + late + fx),
        ),
        top_images=tuple(
            TopImage(f"img-{n:06}", "art-1", 10**9 // (n + 1), currency, 10**8 - n) for n in range(10)
        ),
        lines=Detail(
            10_000,
            (
                Total("royalty", currency, 9_996, royalties),
                Total("late", currency, 1, late),
                Total("adjustment", currency, 1, -1_500_000),
                Total("refund", currency, 1, -20_000_001),
                Total("royalty", "USD", 1, 5_000_000),
            ),
            "c" * 64,
        ),
        adjustments=(adjustment,),
        entries=Entries(
            **{
                name: (Entry(day, f"{name}:1", currency, getattr(column, name)),)
                for name in MOVEMENTS[3:]
                if name != "fx"
            },
            fx=(Entry(day, "fx:USD", "USD", -5_000_000), Entry(day, f"fx:{currency}", currency, fx)),
        ),
        holds=(hold, ended),
        disputes=(
            OpenDispute(day, "dispute:1", "2026-10/pay-1/EUR", "sale-1/art-1/pay-1"),
            OpenDispute(day, "dispute:2", "2026-10/pay-1/EUR"),
        ),
        conversions=(
            Conversion("USD", 5_000_000, parse_rate("162.4691356"), "ECB", date(2026, 11, 27), 812_345_678),
        ),
        taxes=(
            TaxSum("AX", currency, 500_000_000, 100_000_000, 50_000_000),
            TaxSum("US", "USD", 5_000_000, 0, 0),
        ),
        reserves=(
            HeldBack("2026-10", currency, 70_000_000, 12_345_678),
            HeldBack("2026-11", currency, 30_000_000, 30_000_000),
        ),
        advances=(AdvanceBalance("advance-1", 100_000_000, 90_000_000, 40_000_000, 50_000_000),),
        year_to_date=replace(
            BODY.year_to_date, fx=fx, foreign=(ForeignYear("USD", 5_000_000, 0, 0, -5_000_000),)
        ),
    )
