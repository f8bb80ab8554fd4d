"""When which providers are asked to prove their hardware, and who is asked together.

A provider that can foresee its proof needs its hardware at that moment alone, so the moments are
drawn: the times between two are exponentially distributed, whatever was before says nothing. And
adverts that share one device are only found out when they are asked at the same moment, so every
round takes others along, at random.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from assay_node.protocol.ids import Address, Digest

RETRY_S: Final = (60.0, 300.0)
"""After a failure that bad luck explains: later than what made the machine slow, and a round of
which nobody else need be part."""
BUSY_S: Final = (60.0, 600.0)
"""After a provider was busy: most jobs take minutes."""
BUSY_MAX: Final = 12
"""So many times in a row, over an hour or so, a provider may be busy before that counts as a
failure."""

_SECURE: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofTerms:
    """What a scheduler operator decides about proofs. Times in seconds.

    `interval_s` is the mean time between two proofs of a provider, 0 asks for none; `seconds` how
    long one computes at the advertised figure; `age_s_max` how long it shows something. `together`
    bounds how many providers of a class are asked at once. `required` gives work to proven hardware
    alone.
    """

    interval_s: float = 0.0
    seconds: float = 12.0
    age_s_max: float = 172_800.0
    together: int = 8
    required: bool = False


@dataclass(slots=True, kw_only=True)
class ProofSchedule:
    """The next moment of each provider. Times are Unix seconds."""

    terms: ProofTerms
    draw: random.Random = _SECURE
    _due: dict[Address, float] = field(default_factory=dict)
    _busy: dict[Address, int] = field(default_factory=dict)
    _company: dict[Address, int] = field(default_factory=dict)
    """How many are usually asked together with each, itself among them."""

    def admit(self, operator: Address, *, now: float, asked_before: bool) -> None:
        """Take a provider in, if it is new: one that never was asked is asked at once."""
        if operator not in self._due:
            self._due[operator] = self._random(operator, now) if asked_before else now

    def hasten(self, operator: Address, *, now: float) -> None:
        """Ask a provider within minutes: what it advertises, or what is heard of it, changed."""
        soon = now + self.draw.uniform(*RETRY_S)
        self._due[operator] = min(self._due.get(operator, soon), soon)

    def answered(self, operator: Address, *, now: float, again_soon: bool) -> None:
        """Draw a provider's next moment after a result."""
        self._busy.pop(operator, None)
        retry = now + self.draw.uniform(*RETRY_S)
        self._due[operator] = retry if again_soon else self._random(operator, now)

    def was_busy(self, operator: Address, *, now: float) -> bool:
        """Postpone a provider that is busy; True when it has been too often."""
        self._busy[operator] = self._busy.get(operator, 0) + 1
        self._due[operator] = now + self.draw.uniform(*BUSY_S)
        return self._busy[operator] >= BUSY_MAX

    def next_round(self, eligible: Mapping[Address, Digest], *, now: float) -> tuple[Address, ...]:
        """Return who is asked together now; empty when nobody is due.

        Whoever has been due the longest and those of its class (the value of `eligible`) that are
        due as well; then others of the class, at random, up to `together`. Being taken along moves
        nobody's own moment before its result does.
        """
        sizes = Counter(eligible.values())
        self._company = {o: min(self.terms.together, sizes[c]) for o, c in eligible.items()}
        due = [o for o in eligible if self._due.get(o, now + 1) <= now]
        if not due:
            return ()
        first = min(due, key=lambda o: (self._due[o], o))
        peers = sorted(o for o in eligible if eligible[o] == eligible[first] and o != first)
        others_due = [o for o in peers if self._due.get(o, now + 1) <= now]
        others = [o for o in peers if o not in others_due and o not in self._busy]
        chosen = [first, *self._some(others_due, self.terms.together - 1)]
        return (*chosen, *self._some(others, self.terms.together - len(chosen)))

    def forget(self, known: Iterable[Address]) -> None:
        """Keep nothing of providers that are not among these."""
        kept = set(known)
        for operator in [o for o in self._due if o not in kept]:
            del self._due[operator]
            self._busy.pop(operator, None)

    def _some(self, operators: Sequence[Address], count: int) -> list[Address]:
        return self.draw.sample(operators, min(len(operators), max(0, count)))

    def _random(self, operator: Address, now: float) -> float:
        """Return a moment after which an operator's own round is due.

        It is also taken along in the rounds of others, as often as they are in its own: so its own
        are that much rarer, and `interval_s` is the mean between all of them.
        """
        mean_s = max(self.terms.interval_s, 1.0) * self._company.get(operator, 1)
        return now + self.draw.expovariate(1 / mean_s)
