"""From a cent to the coalition values, adding up to the micro."""

import pytest

from database.engine import session
from database.errors import NotFound
from database.roles import Role
from settlement.audit.explain import Explanation, explain
from tests.settlement.worked_example import LINES


def explained(line: str) -> Explanation:
    with session(Role.AUDITOR) as own:
        return explain(own, line)


def step(found: Explanation, name: str) -> dict[str, str]:
    return {item.name: item.value for part in found.steps if part.name == name for item in part.items}


def test_a_paid_line_down_to_its_coalitions(books: str) -> None:
    found = explained("sale-1/art-1/pay-1")
    assert [part.name for part in found.steps] == [
        "payout", "statement", "line", "journal", "sale", "slice", "division", "other lines of the sale", "sum",
        "image", "attribution", "player C", "player art-1", "player art-2", "coalition {}", "coalition {C}",
        "coalition {art-1}", "coalition {C, art-1}", "coalition {art-2}", "coalition {C, art-2}",
        "coalition {art-1, art-2}",
        "coalition {C, art-1, art-2}",
    ]  # fmt: skip
    assert step(found, "payout")["amount"] == "0.180000 EUR"
    assert step(found, "payout")["made and approved by"] == "ann, bob"
    assert step(found, "statement")["statement"] == "2026-10/pay-1/EUR"
    assert step(found, "line")["amount"] == "0.119498 EUR"
    assert step(found, "journal") == {
        "statement:2026-10:pay-1:EUR, line 1": "royalty_expense:EUR 0.184931 EUR",
        "statement:2026-10:pay-1:EUR, line 2": "royalties_payable:pay-1:EUR -0.184931 EUR",
    }
    assert step(found, "slice")["how"] == "floor(base x rate): 1900001 x 300000000 / 10^9 = 570000 micros"
    division = step(found, "division")
    assert division["exact part"] == "570000 x 299492386 / 10^9 = 170710.66002 micros"
    assert division["part of art-1, by largest remainder"] == "0.170711 EUR"
    assert division["split of pay-1"] == "0.700000000"
    assert step(found, "sum") == {"royalty, pending and unattributed lines of the sale": "0.570000 EUR"}
    assert step(found, "image")["prompt"] == "a harbour at dusk, by art-1 and art-2"
    assert step(found, "image")["seed"] == "1001"
    player = step(found, "player art-2")
    assert (player["Shapley value"], player["counts for pay"]) == ("0.078500000", "0.071500000")
    assert (player["must exceed"], player["share"]) == ("0.022000000", "0.090736041")
    assert step(found, "coalition {C, art-1}")["v"] == "0.870000000"


def test_thirds_are_shown_exactly(books: str) -> None:
    found = explained("sale-3/art-3/art-3")
    assert step(found, "player art-3")["Shapley value"] == "0.186666666667 (1120000000/6 x 10^-9)"
    assert step(found, "line")["goes to"] == "suspense: unclaimed"
    assert "payout" not in [part.name for part in found.steps]


def test_a_late_line(books: str) -> None:
    found = explained("sale-4/C/pay-dev")
    assert step(found, "division")["exact part"] == "900000 x 623456790 / 10^9 = 561111.111 micros"
    assert step(found, "journal")["run:2026-11:content:EUR, line 2"] == "suspense_pending:EUR 0.561111 EUR"


def test_a_pending_line_has_no_players(books: str) -> None:
    found = explained("sale-4")
    assert step(found, "line")["kind"] == "pending"
    assert step(found, "journal")["run:2026-10:pending:EUR, line 2"] == "suspense_pending:EUR -0.900000 EUR"
    assert [part.name for part in found.steps][-1] == "image"


def test_a_refund_line_says_what_it_takes_back(books: str) -> None:
    found = explained("refund-1/sale-2/art-1/pay-1")
    refund = step(found, "refund")
    assert refund["given back of the price"] == "1.190000 EUR"
    assert refund["the line it takes back"] == "sale-2/art-1/pay-1, 0.065433 EUR"
    assert refund["amount of this line"] == "-0.065433 EUR"


def test_every_line_by_name_and_by_id(books: str) -> None:
    for name in LINES:
        found = explained(name)
        assert found.line == name
        assert explained(str(found.line_id)) == found
        assert {part.name for part in found.steps} >= {
            "line",
            "journal",
            "sale",
            "slice",
            "division",
            "image",
        }


@pytest.mark.parametrize("line", ["99999999", "sale-1/art-1/pay-9", "nonsense", "", "9" * 30, "a/b/c/d/e"])
def test_an_unknown_line(books: str, line: str) -> None:
    with pytest.raises(NotFound, match="there is no royalty line"):
        explained(line)
