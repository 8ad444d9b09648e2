"""Buffers in one block: those that live at the same time never overlap."""

from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rvcnn.arena import ALIGNMENT, Lifetime, arrange


@st.composite
def lifetimes(draw):
    spans = draw(
        st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), st.integers(0, 6)), max_size=25)
    )
    return {
        i: Lifetime(size, first, first + length) for i, (size, first, length) in enumerate(spans)
    }


def aligned(size):
    return -(-size // ALIGNMENT) * ALIGNMENT


def most_at_once(buffers):
    """Return the largest sum of sizes that live at one step: no arrangement needs less."""
    steps = range(max((b.last for b in buffers.values()), default=0) + 1)
    return max(
        sum(aligned(b.size) for b in buffers.values() if b.first <= t <= b.last) for t in steps
    )


@given(lifetimes())
@example({"a": Lifetime(1, 0, 0), "b": Lifetime(ALIGNMENT, 0, 1), "c": Lifetime(3, 1, 2)})
def test_buffers_that_live_together_lie_apart(buffers):
    offsets, total = arrange(buffers)
    assert offsets.keys() == buffers.keys()
    for a, b in combinations(buffers, 2):
        if buffers[a].first <= buffers[b].last and buffers[b].first <= buffers[a].last:
            ends = offsets[a] + buffers[a].size, offsets[b] + buffers[b].size
            assert ends[0] <= offsets[b] or ends[1] <= offsets[a], (a, b)


@given(lifetimes())
def test_the_block_holds_every_buffer_and_no_more_than_their_sum(buffers):
    offsets, total = arrange(buffers)
    for key, buffer in buffers.items():
        assert 0 <= offsets[key] and offsets[key] + buffer.size <= total
        assert offsets[key] % ALIGNMENT == 0
    assert most_at_once(buffers) <= total <= sum(aligned(b.size) for b in buffers.values())


def test_nothing_takes_no_memory():
    assert arrange({}) == ({}, 0)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_chain_needs_two_buffers(count):
    """Layer after layer, each reads its predecessor's map alone."""
    chain = {i: Lifetime(640, i, i + 1) for i in range(count)}
    assert arrange(chain)[1] == 1280


def test_a_buffer_takes_the_place_of_one_that_is_gone():
    buffers = {
        "low": Lifetime(640, 0, 3),
        "gone": Lifetime(1280, 0, 1),
        "high": Lifetime(640, 1, 3),
        "late": Lifetime(192, 2, 3),
    }
    offsets, total = arrange(buffers)
    assert total == 2560 and offsets["late"] + 192 <= 1280
