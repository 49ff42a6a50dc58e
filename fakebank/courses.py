"""What becomes of a payment: the last two digits of the payee's IBAN choose the course it takes.

Days are the bank's, whose clock stands still until it is advanced.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """What the bank says of a payment, ``days`` after it was told."""

    says: str
    days: int = 0
    reason: str = ""


_ACCEPTED = Step("accepted")
_PAID = Step("paid", 1)


@dataclass(frozen=True, slots=True)
class Course:
    """The steps of a payment, and how the bank behaves while it takes them."""

    steps: tuple[Step, ...] = (_ACCEPTED, _PAID)
    mute_calls: int = 0
    """Of the first calls that tell of it, how many are not answered and not carried out."""
    mute_once_done: bool = False
    """Whether the first call that tells of it is carried out and not answered."""
    garbled: bool = False
    """Whether that call is answered, but with half an answer."""
    copies: int = 1
    """How often each webhook is sent."""
    reversed: bool = False
    """Whether its webhooks wait for the last of its steps, and are sent the newest first."""
    late_days: int = 0
    """How much later than its step a webhook is sent."""
    silent: bool = False
    """Whether no webhook is sent at all."""


NEVER = 1_000_000

COURSES: dict[str, Course] = {
    "90": Course((Step("rejected", 0, "AC04"),)),
    "91": Course((_ACCEPTED, Step("rejected", 1, "AC04"))),
    "92": Course((_ACCEPTED, _PAID, Step("returned", 3, "AC04"))),
    "93": Course(mute_once_done=True),
    "94": Course(mute_calls=1),
    "95": Course(copies=2),
    "96": Course((_ACCEPTED, _PAID, Step("returned", 3, "AC06")), reversed=True),
    "97": Course(mute_calls=NEVER),
    "98": Course(late_days=5),
    "99": Course(garbled=True),
    "89": Course(silent=True),
    "88": Course(
        (_ACCEPTED, _PAID, Step("returned", 3, "MD07")), mute_once_done=True, copies=2, reversed=True
    ),
    "87": Course(mute_calls=2),
}
"""By the last two digits; every other account is simply paid the next day."""

ORDINARY = Course()


def course_of(iban: str) -> Course:
    """The course of a payment to this account."""
    return COURSES.get(iban[-2:], ORDINARY)
