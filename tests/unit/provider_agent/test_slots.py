import asyncio
from typing import Any

from assay_node.protocol.ids import Digest
from assay_provider.lease_work import LeaseWork
from assay_provider.slots import Slots

ONE, TWO, THREE = (Digest(bytes([n]) * 32) for n in (1, 2, 3))


def test_slots_are_taken_lowest_first_and_each_by_one_job() -> None:
    slots = Slots(2)
    assert (slots.take(ONE), slots.take(TWO), slots.take(THREE)) == (0, 1, None)
    slots.release(ONE)
    assert (slots.free, slots.take(THREE)) == (1, 0)


def test_releasing_twice_frees_once() -> None:
    slots = Slots(1)
    slots.take(ONE)
    slots.release(ONE)
    slots.release(ONE)
    assert slots.free == 1


def test_slots_held_before_a_restart_are_held_after_it() -> None:
    slots = Slots(2, held={ONE: 1, TWO: 7})  # once there were more slots
    assert (slots.free, slots.take(THREE)) == (1, 0)
    slots.release(TWO)
    slots.release(ONE)
    assert (slots.free, slots.take(TWO)) == (1, 1)


def test_a_retired_slot_is_given_to_nobody_any_more() -> None:
    slots = Slots(2)
    assert slots.take(ONE) == 0
    slots.retire(0)
    slots.retire(0)
    slots.release(ONE)
    assert (slots.free, slots.take(TWO), slots.take(THREE)) == (1, 1, None)
    slots.release(TWO)
    slots.retire(1)
    assert (slots.free, slots.take(THREE)) == (0, None)


async def test_a_task_stopped_before_its_first_step_frees_its_slot() -> None:
    slots = Slots(1)
    slots.take(ONE)
    nothing: Any = None
    async with asyncio.TaskGroup() as group:
        work = LeaseWork(
            group=group,
            book=nothing,
            execution=nothing,
            links=nothing,
            closing=nothing,
            slots=slots,
            supply=nothing,
            domain=nothing,
            signer=nothing,
            clock=nothing,
            deadlines=nothing,
        )
        work.start(ONE)
        await work.stop(ONE)
        assert slots.free == 1
