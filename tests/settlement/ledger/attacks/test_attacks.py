"""The attack matrix, tried; tried on an unguarded copy; and tried once more without each of its defences."""

import pytest

from database.engine import session
from database.roles import Role
from tests.settlement.books import write_books
from tests.settlement.ledger.attacks.bench import outcome, without
from tests.settlement.ledger.attacks.matrix import ATTACKS, Attack


@pytest.fixture(scope="module", autouse=True)
def _books(module_database: str) -> None:
    with session(Role.ADMIN) as own:
        write_books(own)


def _names(attack: Attack) -> str:
    return attack.name


@pytest.mark.parametrize("attack", ATTACKS, ids=_names)
def test_the_attack_fails(attack: Attack) -> None:
    assert outcome(attack) in attack.outcome.split(" or ")


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.plain], ids=_names)
def test_the_attack_works_on_unguarded_tables(attack: Attack) -> None:
    assert outcome(attack, plain=True) == "success"


@pytest.mark.parametrize(
    ("attack", "defence"),
    [
        pytest.param(attack, defence, id=f"{attack.name} without {defence}")
        for attack in ATTACKS
        for defence in attack.by
    ],
)
def test_the_attack_tells_that_its_defence_is_gone(attack: Attack, defence: str) -> None:
    """Mutation: what the test above asserts is not so without the object that it names."""
    assert outcome(attack, without(defence)) not in attack.outcome.split(" or ")
