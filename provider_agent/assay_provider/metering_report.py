"""The metering log for people, and the seconds of receipts worked out again from it.

What is compared, for each job of which this provider committed to seconds:

1. Its last run that ended, in the log, bills what its own meters say.
2. The lease, from which every commitment and reveal is signed, bills that.
3. The commitment in the commit set that the provider revealed over, where it did, opens with the
   seconds worked out in 1: the very number that a receipt on the chain is paid by.
"""

import dataclasses
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from assay_node.protocol import codec
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.messages import CommitSet
from assay_node.settings import Settings
from assay_node.store.database import is_absent, open_database
from assay_node.store.provider_leases import ProviderLease, ProviderLeases
from assay_node.store.provider_runs import LoggedRun
from assay_provider.commitment import commitment_of
from assay_provider.keystores import operator_of
from assay_provider.metering import NANOSECONDS, seconds_of

RUNS_SHOWN: Final = 50
"""What fits a screen or two."""
RUNS_VERIFIED_MAX: Final = 100_000
"""A quarter of a busy year; older runs are forgotten with their leases."""
PREFIX_CHARACTERS_MIN: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAccount:
    """What the log says of one job. `fault` is empty when everything fits.

    `seconds_logged` follows from the meters, `seconds_signed` is what the provider committed to;
    None before there was a run that ended, or a commitment.
    """

    job: Digest
    seconds_logged: int | None
    seconds_signed: int | None
    in_commit_set: bool
    fault: str


async def metering_document(
    settings: Settings, wanted: str | None, *, verify: bool
) -> dict[str, Any]:
    """Return the log's newest runs, or those of one job, as a JSON-serialisable document.

    Args:
        settings: of the provider whose database is read.
        wanted: a job's id, or its beginning.
        verify: whether to work out every job's seconds again.

    Raises:
        LocalError: no provider has run here yet, or no run of that job is logged.
    """
    mine = settings.provider
    if is_absent(mine.database_url):
        raise LocalError("no provider has run here yet; start one with: assay provider run")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(mine.database_url, role="provider")
        )
        leases = ProviderLeases(database)
        runs = await leases.runs.newest(RUNS_VERIFIED_MAX)
        if wanted is not None:
            runs = _of_job(runs, wanted)
        document: dict[str, Any] = {
            "runs": [run_document(run) for run in (runs if wanted else runs[:RUNS_SHOWN])]
        }
        if verify:
            operator = operator_of(mine)
            jobs = dict.fromkeys(run.job for run in runs)
            accounts = [await account_of(leases, job, operator) for job in jobs]
            document["jobs"] = [_account_document(account) for account in accounts]
            document["ok"] = not any(account.fault for account in accounts)
    return document


async def account_of(leases: ProviderLeases, job: Digest, operator: Address) -> JobAccount:
    """Work out a job's seconds from the log, and compare them with what was signed."""
    lease = await leases.get(job)
    assert lease is not None, "runs are forgotten with their lease"
    runs = await leases.runs.of_job(job)
    commit_set = await leases.signed_set(job)
    return account(lease, runs, commit_set, operator)


def account(
    lease: ProviderLease, runs: Sequence[LoggedRun], commit_set: bytes | None, operator: Address
) -> JobAccount:
    """Compare one job's runs with its lease and with the commit set it was revealed over. Pure."""
    last = next((run for run in reversed(runs) if run.metered is not None), None)
    logged = seconds_of(last) if last else None
    shown = None if lease.seconds is None else _own_commitment(lease, commit_set, operator)
    return JobAccount(
        job=lease.job,
        seconds_logged=logged,
        seconds_signed=lease.seconds,
        in_commit_set=shown is not None,
        fault=_fault(lease, last, logged, shown, operator),
    )


def run_document(run: LoggedRun) -> dict[str, Any]:
    """Return one run as a JSON-serialisable document, with its wall time in seconds beside it."""
    metered = run.metered
    wall_ns = metered.exited_ns - metered.started_ns if metered else None
    return {
        **dataclasses.asdict(run),
        "job": to_hex(run.job),
        "wall_seconds": None if wall_ns is None else wall_ns / NANOSECONDS,
    }


def _fault(
    lease: ProviderLease,
    last: LoggedRun | None,
    logged: int | None,
    shown: Digest | None,
    operator: Address,
) -> str:
    if last is not None and last.metered is not None and last.metered.billable_seconds != logged:
        return (
            f"run {last.attempt} bills {last.metered.billable_seconds} s; its meters say {logged} s"
        )
    if lease.seconds is None:
        return ""
    if logged is None:
        return f"{lease.seconds} s were committed to, and the log has no run that ended"
    if lease.seconds != logged:
        return f"{lease.seconds} s were committed to; the log says {logged} s"
    again = dataclasses.replace(lease, seconds=logged)
    if shown is not None and shown != commitment_of(again, operator):
        return f"the commitment that was revealed does not open with the {logged} s of the log"
    return ""


def _own_commitment(
    lease: ProviderLease, commit_set: bytes | None, operator: Address
) -> Digest | None:
    """Return this provider's entry in the set of the lease's round, None where there is none."""
    if commit_set is None:
        return None
    shown = codec.decode(CommitSet, commit_set)
    if shown.round_number != lease.round_number:
        return None
    return next((one.commitment for one in shown.entries if one.operator == operator), None)


def _of_job(runs: Sequence[LoggedRun], wanted: str) -> tuple[LoggedRun, ...]:
    plain = wanted.lower().removeprefix("0x")
    if len(plain) < PREFIX_CHARACTERS_MIN:
        raise LocalError(f"give at least {PREFIX_CHARACTERS_MIN} characters of the job's id")
    found = tuple(run for run in runs if run.job.hex().startswith(plain))
    jobs = {run.job for run in found}
    if len(jobs) > 1:
        raise LocalError(f"{len(jobs)} jobs begin with {wanted}; give more of the id")
    if not found:
        known = f"no run of job {wanted} is logged here"
        raise LocalError(f"{known}; assay provider metering lists what is")
    return found


def _account_document(account: JobAccount) -> dict[str, Any]:
    return {**dataclasses.asdict(account), "job": to_hex(account.job)}
