"""Which slots are free. In memory only: the leases that hold slots are what is durable."""

from collections.abc import Mapping

from assay_node.protocol.ids import Digest


class Slots:
    """Numbers 0 .. count - 1, each held by at most one job's lease."""

    def __init__(self, count: int, *, held: Mapping[Digest, int] | None = None) -> None:
        self._held = dict(held or {})
        self._free = sorted(set(range(count)) - set(self._held.values()))
        self._count = count
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

    def release(self, job: Digest) -> None:
        """Make a job's slot free again, if it holds one."""
        slot = self._held.pop(job, None)
        if slot is not None and slot < self._count:  # a former configuration may have had more
            self._free = sorted([*self._free, slot])
