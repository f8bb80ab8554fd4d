"""Which slots are free. In memory only: the leases that hold slots are what is durable."""

from collections.abc import Mapping

from assay_node.protocol.ids import Digest


class Slots:
    """Numbers 0 .. count - 1, each held by at most one job's lease."""

    def __init__(self, count: int, *, held: Mapping[Digest, int] | None = None) -> None:
        self._held = dict(held or {})
        self._free = sorted(set(range(count)) - set(self._held.values()))
        self._count = count
        self._retired: set[int] = set()
        self._withheld = False

    @property
    def free(self) -> int:
        """How many slots are free for jobs."""
        return 0 if self._withheld else len(self._free)

    def withhold(self) -> None:
        """Keep the free slots from jobs: the machine is needed for something else."""
        self._withheld = True

    def give_back(self) -> None:
        """Let jobs have the free slots again."""
        self._withheld = False

    def take(self, job: Digest) -> int | None:
        """Give a job the lowest free slot and return it; None when all are held."""
        assert job not in self._held, "a job has one lease"
        if self.free == 0:
            return None
        self._held[job] = self._free.pop(0)
        return self._held[job]

    def hold(self, job: Digest, slot: int) -> bool:
        """Give a job the very slot that its stored lease names; False when another job has it."""
        if self._held.get(job) == slot:
            return True
        if job in self._held or slot not in self._free:
            return False
        self._free.remove(slot)
        self._held[job] = slot
        return True

    def release(self, job: Digest) -> None:
        """Make a job's slot free again, if it holds one."""
        slot = self._held.pop(job, None)
        # a former configuration may have had more
        if slot is not None and slot < self._count and slot not in self._retired:
            self._free = sorted([*self._free, slot])

    def retire(self, slot: int) -> None:
        """Give a slot to nobody any more; a job that holds it keeps it to its end."""
        self._retired.add(slot)
        self._free = [free for free in self._free if free != slot]
