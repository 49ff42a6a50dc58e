"""Further seeds: who is of the sample, which seeds, and the prompt's standard error."""

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.seeds import further_seeds, plays_further_seeds, prompt_shares
from attribution.shapley import SHARE_SCALE

METHOD = bytes(range(32))


def test_the_sample_is_the_stated_part_and_the_same_everywhere() -> None:
    names = [f"img-{i}" for i in range(4000)]
    chosen = [name for name in names if plays_further_seeds(METHOD, name, 100)]
    assert 320 < len(chosen) < 480
    assert set(chosen) < {name for name in names if plays_further_seeds(METHOD, name, 200)}
    assert chosen != [name for name in names if plays_further_seeds(bytes(32), name, 100)]
    assert not any(plays_further_seeds(METHOD, name, 0) for name in names)
    assert all(plays_further_seeds(METHOD, name, 1000) for name in names)


def test_seeds_follow_from_method_and_image() -> None:
    seeds = further_seeds(METHOD, "img-1", 4)
    assert len(set(seeds)) == 3 and all(0 <= seed < 2**32 for seed in seeds)
    assert seeds == further_seeds(METHOD, "img-1", 5)[:3]
    assert not set(seeds) & set(further_seeds(METHOD, "img-2", 4))
    assert further_seeds(METHOD, "img-1", 1) == []


def test_with_one_seed_there_is_no_standard_error() -> None:
    assert prompt_shares([[5, 3]]) is None
    assert prompt_shares([[5, 3], [0, 0]]) is None, "what one seed pays alone is known of one seed only"
    assert prompt_shares([[0, 0], [0, 0], [0, 0]]) is None


def test_seeds_that_agree_leave_no_error() -> None:
    found = prompt_shares([[30, 10], [60, 20], [15, 5]])
    assert found is not None
    assert [(share.share_ppb, share.standard_error_ppb) for share in found] == [
        (750_000_000, 0),
        (250_000_000, 0),
    ]


@given(
    st.integers(2, 6).flatmap(
        lambda seeds: st.lists(
            st.lists(st.integers(0, 10**12), min_size=3, max_size=3), min_size=seeds, max_size=seeds
        )
    )
)
def test_the_jackknife_is_the_textbooks(paid: list[list[int]]) -> None:
    seeds, whole = len(paid), sum(map(sum, paid))
    found = prompt_shares(paid)
    if any(sum(one) == whole for one in paid):
        assert found is None
        return
    assert found is not None
    assert SHARE_SCALE - 3 < sum(share.share_ppb for share in found) <= SHARE_SCALE
    for slot, share in enumerate(found):
        without = [
            (sum(one[slot] for one in paid) - paid[k][slot]) / (whole - sum(paid[k])) for k in range(seeds)
        ]
        mean = fmean(without)
        textbook = ((seeds - 1) / seeds * sum((x - mean) ** 2 for x in without)) ** 0.5
        assert share.standard_error_ppb == pytest.approx(textbook * SHARE_SCALE, abs=5)
        assert share.share_ppb == pytest.approx(sum(one[slot] for one in paid) / whole * SHARE_SCALE, abs=1.5)
