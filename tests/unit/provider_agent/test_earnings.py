"""Earnings from the chain's events: each block counted once, whatever is remembered."""

from pathlib import Path

import pytest

from assay_node.chain.events import Earnings
from assay_node.ports import Head
from assay_node.protocol.ids import Address
from assay_provider import earnings
from assay_provider.earnings import EarningsReader

OPERATOR = Address("0x" + "0a" * 20)
FIRST = 100
BLOCK_S = 12


class Chain:
    """Every block pays its number and slashes one; blocks come every 12 s from 0 on."""

    def __init__(self, head: int) -> None:
        self.number = head
        self.asked: list[tuple[int, int]] = []

    async def head(self) -> Head:
        return Head(number=self.number, timestamp=self.number * BLOCK_S)

    async def block_time(self, number: int) -> int | None:
        return number * BLOCK_S if number <= self.number else None

    async def earnings(
        self, operator: Address, *, from_block: int | None, to_block: int | None
    ) -> Earnings:
        assert operator == OPERATOR
        assert from_block is not None
        assert to_block is not None
        self.asked.append((from_block, to_block))
        return expected(from_block, to_block)


def expected(first: int, last: int) -> Earnings:
    blocks = range(first, last + 1)
    return Earnings(
        paid_microusd=sum(blocks),
        slashed_microusd=len(blocks),
        jobs_paid=len(blocks),
        jobs_slashed=2 * len(blocks),
    )


def reader(home: Path, **changes: str) -> EarningsReader:
    return EarningsReader(
        operator=OPERATOR, market=changes.get("market", "31337/0xab"), deploy_block=FIRST, home=home
    )


async def test_all_and_todays_are_sums_over_blocks(tmp_path: Path) -> None:
    chain = Chain(head=1000)
    found = await reader(tmp_path).read(chain, midnight=900 * BLOCK_S)
    assert found.today == expected(900, 1000)
    assert found.in_all == expected(FIRST, 1000)
    assert (found.to_block, found.is_complete) == (1000, True)
    between = await reader(tmp_path).read(chain, midnight=900 * BLOCK_S + 1)
    assert between.today == expected(901, 1000)


async def test_nothing_is_earned_before_the_day_has_a_block(tmp_path: Path) -> None:
    found = await reader(tmp_path).read(Chain(head=1000), midnight=5000 * BLOCK_S)
    assert found.today is not None
    assert found.today.paid_microusd == 0


async def test_a_young_deployment_has_nothing_deep_yet(tmp_path: Path) -> None:
    found = await reader(tmp_path).read(Chain(head=FIRST + 3), midnight=0)
    assert found.in_all == found.today == expected(FIRST, FIRST + 3)
    assert not (tmp_path / "earnings.json").exists()


async def test_deep_blocks_are_read_once_across_restarts(tmp_path: Path) -> None:
    await reader(tmp_path).read(Chain(head=1000), midnight=1000 * BLOCK_S)
    later = Chain(head=1100)
    found = await reader(tmp_path).read(later, midnight=1100 * BLOCK_S)
    assert found.in_all == expected(FIRST, 1100)
    assert min(first for first, _ in later.asked) == 1000 - 64 + 1


async def test_a_long_history_is_read_look_by_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earnings, "LOOK_BLOCKS_MAX", 300)
    chain, reading = Chain(head=1000), reader(tmp_path)
    ends = []
    for _ in range(4):
        found = await reading.read(chain, midnight=100 * BLOCK_S)
        assert found.in_all == expected(FIRST, found.to_block)
        assert found.today is None  # 900 blocks are more than one look
        ends.append((found.to_block, found.is_complete))
    assert ends == [(399, False), (699, False), (1000, True), (1000, True)]


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"market": "31337/0xab"}'])
async def test_a_damaged_or_foreign_memory_is_read_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "earnings.json").write_text(text)
    assert (await reader(tmp_path).read(Chain(1000), midnight=0)).in_all == expected(FIRST, 1000)
    other = await reader(tmp_path, market="1/0xcd").read(Chain(900), midnight=0)
    assert other.in_all == expected(FIRST, 900)
