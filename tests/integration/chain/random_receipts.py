"""Receipts as their parties might have made them, and some spoilt by somebody."""

import random
from collections.abc import Callable, Collection, Sequence
from typing import Final

from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from tests.integration.chain import payout_model as model

USD: Final = 1_000_000
ROUND_LAST: Final = 255
"""The last round whose tags have a standing at the court."""


class RandomReceipts:
    """Makes receipts for one market from one source of randomness."""

    def __init__(
        self,
        rolls: random.Random,
        market: model.Market,
        *,
        classes: Sequence[bytes],
        schedulers: Sequence[str],
        keys: dict[str, PrivateKey],
        signers: dict[str, PrivateKey],
    ) -> None:
        """Take the requesters and the schedulers by their keys, operators by their signing keys.

        A requester that is among the signers has registered a key as well.
        """
        self._random = rolls
        self._model = market
        self._classes = classes
        self._schedulers = schedulers
        self._keys = keys
        self._requesters = [who for who in keys if who not in schedulers]
        self._signers = signers
        self._operators = [who for who in signers if who not in keys]
        self.settled: list[model.Receipt] = []

    def one(self, now: model.Now) -> model.Receipt:
        """Return a good one, or an old one again, or one in five spoilt by somebody."""
        if self.settled and self._random.random() < 0.05:
            return self._random.choice(self.settled)  # once more
        order = self.order(now)
        receipt = self.seal(order, self.votes(order, now))
        return self._spoil(receipt) if self._random.random() < 0.2 else receipt

    def order(self, now: model.Now) -> model.Order:
        pick, roll = self._random.choice, self._random.random()
        expiry = now.timestamp + self._random.randint(60, model.HORIZON_S)
        seed_block = now.number - self._random.randint(2, 20)
        if roll < 0.03:
            expiry = now.timestamp - self._random.randint(1, 1000)
        elif roll < 0.06:
            expiry = now.timestamp + model.HORIZON_S + self._random.randint(3600, 10_000)
        elif roll < 0.09:
            seed_block = pick((0, now.number + 5, now.number + 10**9))
        hardware_class = pick(self._classes)
        there = len(set(self._model.classes[hardware_class].holders))
        k = max(1, min(there, pick((1, 1, 2, 3, 3, 3, 3, 4, 5, 7, 8))))
        if kept := list(self._model.classes[hardware_class].kept):
            seed_block = pick(kept[-3:]) if self._random.random() < 0.1 else seed_block
        requester = pick(list(self._requesters))
        fresh = self._random.getrandbits(256)
        nonces = [fresh] * 12 + [
            nonce for who, nonce in sorted(self._model.spent) if who == requester
        ][:1]
        order = model.Order(
            requester=requester,
            spec=self._random.randbytes(32),
            hardware_class=hardware_class,
            scheduler=pick(self._schedulers),
            fee=self._random.choice((0, 2_000, self._random.randrange(10 * USD))),
            max_rate=self._random.choice((1_500, 1_500, 1_500, 20_000, 1 << 63)),
            max_seconds=self._random.choice((0, 1, *(600,) * 6, 86_400, (1 << 32) - 1)),
            bond=self._random.choice((0, 50 * USD, 300 * USD, self._random.randrange(900 * USD))),
            replicas=k,
            quorum=self._random.randint(k // 2 + 1, k),
            max_ticket=self._random.choice((k + 40, 100, 255)),
            commit_window=600,
            reveal_window=600,
            seed_block=seed_block,
            expiry=expiry,
            audit_bps=0,
            escalate=self._random.random() < 0.6,
            nonce=pick(nonces),
        )
        return self._with_audits(order) if self._random.random() < 0.4 else order

    def _with_audits(self, order: model.Order) -> model.Order:
        """Most with the fee that brings in the audits' share, some with a little less."""
        chance = self._random.choice((1, 100, 3_000, *(10_000,) * 4, 10_001))
        share = (2 * order.replicas + 1) * order.max_rate * order.max_seconds * chance // model.BPS
        share = min(share, 100 * USD)
        fee = max(0, share + self._random.choice((0, 0, 0, 5, -1)))
        return order._replace(audit_bps=chance, fee=fee)

    def votes(
        self,
        order: model.Order,
        now: model.Now,
        *,
        spare: int = 0,
        without: Collection[str] = (),
        answers: Sequence[int | None] = (),
        round_number: int | None = None,
    ) -> list[model.Replica]:
        """Return unsigned votes of the first distinct operators of the draw, some passed over.

        Answers are small numbers, and None is one that nobody can show an output of; without any,
        most give the same.
        """
        job = self._model.domain.job(order)
        if round_number is None:
            round_number = self._random.choice((0, 0, 0, 0, 1, ROUND_LAST, ROUND_LAST + 1))
        seats: list[tuple[str, int]] = []
        for ticket in range(order.max_ticket + 1):
            operator = self._drawn_or_any(order, job, ticket, now)
            taken = operator in without or operator in {who for who, _ in seats}
            if taken or (not without and self._random.random() < 0.1):
                continue
            seats.append((operator, ticket))
            if len(seats) == order.replicas + spare:
                break
        noise = self._random.random() < 0.1
        said = answers or self._random.choices(
            (None if noise else 0, 1, 2, 3), (12, 2, 1, 1), k=len(seats)
        )
        return [
            self._replica(order, seat, self.tag(job, round_number, said[i % len(said)]))
            for i, seat in enumerate(seats)
        ]

    def tag(self, job: bytes, round_number: int, answer: int | None) -> bytes:
        if answer is None:
            return keccak(b"noise" + job)
        if self._random.random() < 0.04:
            round_number = self._random.randrange(ROUND_LAST + 2)  # somebody was told another one
        return model.tag(job, round_number, output(answer))

    def _drawn_or_any(self, order: model.Order, job: bytes, ticket: int, now: model.Now) -> str:
        try:
            return self._model.drawn(order, job, ticket, now)
        except model.Refused:
            return self._random.choice(self._operators)

    def _replica(self, order: model.Order, seat: tuple[str, int], tag: bytes) -> model.Replica:
        rolls, cap = self._random, order.max_seconds
        if rolls.random() < 0.1:
            tag = tag[:28] + rolls.randbytes(4)  # the same vote all the same
        modest = min(order.max_rate, rolls.choice((1_500, 100_000)))
        meter = rolls.choice(
            (
                rolls.randrange(2 * min(cap, 1 << 30) + 1),
                rolls.randrange(700),
                rolls.getrandbits(32),
            )
        )
        operator, ticket = seat
        rate = rolls.randint(0, order.max_rate if rolls.random() < 0.01 else modest)
        return model.Replica(operator, rate, ticket, meter, tag, rolls.randbytes(32), b"")

    def seal(self, order: model.Order, replicas: Sequence[model.Replica]) -> model.Receipt:
        """Sign as all parties would what stands there."""
        job = self._model.domain.job(order)
        commits = model.commit_set(job, replicas)
        signed = [
            replica._replace(
                signature=sign(
                    self._signers[replica.operator],
                    self._model.domain.reveal(job, commits, replica),
                )
            )
            for replica in replicas
        ]
        signature = sign(self.orders_key(order.requester), job)
        return model.Receipt(order=order, signature=signature, replicas=tuple(signed))

    def orders_key(self, requester: str) -> PrivateKey:
        """The requester's own key, or the one that it registered."""
        registered = self._signers.get(requester)
        return self._random.choice([self._keys[requester], registered or self._keys[requester]])

    def sign_once(self, receipts: Sequence[model.Receipt]) -> model.SignedOnce:
        """Each requester signs once, or each operator, or both; now and then not what is there."""
        orders, reveals = model.list_digests(self._model.domain, receipts)
        signed_orders = {
            who: sign(self.orders_key(who), self._or_other(digest))
            for who, digest in orders.items()
        }
        signed_reveals = {
            who: sign(self._signers[who], self._or_other(digest)) for who, digest in reveals.items()
        }
        form = self._random.randrange(3)
        return model.SignedOnce(
            signed_orders if form != 1 else None, signed_reveals if form != 0 else None
        )

    def _or_other(self, digest: bytes) -> bytes:
        return self._random.randbytes(32) if self._random.random() < 0.05 else digest

    def _spoil(self, receipt: model.Receipt) -> model.Receipt:
        """Change something: before anybody signed, or after."""
        if self._random.random() < 0.5:
            return self.seal(*self._bad_draft(receipt.order, list(receipt.replicas)))
        return self._tampered(receipt)

    def _bad_draft(
        self, order: model.Order, replicas: list[model.Replica]
    ) -> tuple[model.Order, list[model.Replica]]:
        """What all parties could sign and the market must not take."""
        i = self._random.randrange(len(replicas))
        one = replicas[i]
        match self._random.randrange(7):
            case 0:
                return order._replace(quorum=order.replicas // 2), replicas
            case 1:
                return order, replicas[:-1]
            case 2:
                return order._replace(replicas=0), []
            case 3:
                return order, replicas[::-1]
            case 4:
                replicas[i] = one._replace(rate=min(order.max_rate + 1, (1 << 64) - 1))
            case 5:
                replicas[i] = one._replace(ticket=min(255, order.max_ticket + 1))
            case _:
                replicas[i] = one._replace(operator=self._random.choice(self._operators))
        return order, replicas

    def _tampered(self, receipt: model.Receipt) -> model.Receipt:
        """One member changed after it was signed."""
        replicas, roll = list(receipt.replicas), self._random
        i = roll.randrange(len(replicas))
        one, order, stranger = replicas[i], receipt.order, new_key(roll)
        changes: list[Callable[[], model.Replica]] = [
            lambda: one._replace(secs=one.secs ^ 1),
            lambda: one._replace(rate=one.rate ^ 1),
            lambda: one._replace(tag=roll.randbytes(32)),
            lambda: one._replace(salt=roll.randbytes(32)),
            lambda: one._replace(signature=one.signature[:64]),
            lambda: one._replace(signature=_other_half(one.signature)),
            lambda: one._replace(signature=sign(stranger, roll.randbytes(32))),
        ]
        match roll.randrange(len(changes) + 2):
            case 0:
                return receipt._replace(order=order._replace(fee=order.fee + 1))
            case 1:
                return receipt._replace(signature=sign(stranger, self._model.domain.job(order)))
            case n:
                replicas[i] = changes[n - 2]()
        return receipt._replace(replicas=tuple(replicas))


def output(answer: int) -> bytes:
    return bytes([answer + 1]) * 32


def sign(key: PrivateKey, digest: bytes) -> bytes:
    raw = key.sign_msg_hash(digest).to_bytes()
    return raw[:64] + bytes([raw[64] + 27])


def _other_half(signature: bytes) -> bytes:
    """The same signature with the other s: good mathematics, refused since EIP-2."""
    s = model.CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def new_key(rolls: random.Random) -> PrivateKey:
    return PrivateKey(rolls.randbytes(32))
