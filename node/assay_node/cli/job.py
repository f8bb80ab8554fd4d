"""`assay job advance | appeal`: move a job on that its parties left standing; have it run again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay_node.cli import output
from assay_node.cli.jobs import JobArgument, job_id_of
from assay_node.cli.output import JsonOption, PasswordFileOption, YesOption
from assay_node.cli.submit import SchedulerOption, WalletOption

if TYPE_CHECKING:
    from assay_node.ports import MarketStep
    from assay_node.protocol.ids import Digest
    from assay_node.services.order_records import OrderRecord
    from assay_node.services.road import Holdings
    from assay_node.settings import Settings

app = typer.Typer(
    help="Move a job on without its scheduler; have it run again.", no_args_is_help=True
)

WEI_PER_ETH = 10**18


@app.callback()
def _job() -> None:
    """Move a job on without its scheduler; have it run again."""


@app.command("advance")
def advance(
    job: JobArgument,
    commit_set: Annotated[
        Path | None,
        typer.Option(
            help="File with the job's commit set in hexadecimal, to take it to the chain with.",
            show_default=False,
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            help="CID of an output that a panel may have agreed on; may be repeated.",
            show_default=False,
        ),
    ] = None,
    scheduler: SchedulerOption = None,
    wallet: WalletOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say where a job stands on the chain, and take the next step there if there is one.

    Anybody may: no step depends on who sends it, and nothing can be gained by taking it wrongly.
    A job of yours whose scheduler is gone is taken to the on-chain road with the commit set that
    was kept while you followed it; then its providers reveal, and when all have, or two hours are
    over, anybody can end it. A job that is decided may be at the court: a panel is called where
    its order and the chain's draw ask for one, and its verdict is carried out. The wallet pays for
    gas alone.
    """
    flags = {
        "requester.scheduler": scheduler,
        "requester.wallet": wallet,
        "password_file": password_file,
    }
    digests = [_digest_of(text) for text in outputs or ()]
    output.run(_advance(output.settings(flags), job, commit_set, digests, yes=yes, as_json=as_json))


@app.command("appeal")
def appeal(
    job: JobArgument,
    wallet: WalletOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have a job run again in which somebody was slashed that you say was right.

    A panel of fresh operators decides. What it may cost at most is set aside from what the wallet
    has free in the Vault. It comes back if the panel finds that the winners were wrong, and they
    pay for it; else the panel is paid from it. There is a day's time after the slash.
    """
    flags = {"requester.wallet": wallet, "password_file": password_file}
    output.run(_appeal(output.settings(flags), job, yes=yes, as_json=as_json))


async def _advance(
    settings: "Settings",
    text: str,
    commit_set: Path | None,
    digests: list["Digest"],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    from assay_node.app import chain_settings
    from assay_node.chain.client import open_reader
    from assay_node.cli.wallets import wallet_address
    from assay_node.protocol.ids import to_hex
    from assay_node.services.standing import standing_document, standing_lines, standing_of

    job = job_id_of(settings, text)
    held = await _holdings(settings, job, commit_set)
    chain = chain_settings(settings)
    async with open_reader(chain) as reader:
        standing = await standing_of(reader, job, held, digests=digests)
        document: dict[str, Any] = standing_document(standing) | {"transaction": None}
        step = standing.step
        cost = None
        if step is not None:
            cost = await reader.cost_of_step(step, wallet_address(settings))
            document |= {"gas": cost.gas, "wei": cost.wei}
    for line in (f"job {to_hex(job)}", *standing_lines(standing)):
        output.people().print(line, markup=False)
    if step is not None and cost is not None:
        output.confirm(
            f"Take the step now? It costs about {cost.gas:,} gas, {cost.wei / WEI_PER_ETH:.6f} of "
            "the chain's coin.",
            yes=yes,
        )
        document["transaction"] = to_hex(await _take(settings, step))
    if as_json:
        output.print_json(document)
    elif document["transaction"] is not None:
        output.results().print(f"done by {document['transaction']}", markup=False)


async def _take(settings: "Settings", step: "MarketStep") -> "Digest":
    from assay_node.app import chain_settings
    from assay_node.chain.client import open_chain
    from assay_node.cli.wallets import load_wallet

    async with open_chain(chain_settings(settings), load_wallet(settings)) as opened:
        for what in await opened.finish_earlier():
            output.people().print(f"an earlier command did not see the end of: {what}")
        with output.spinner("waiting for it to be mined"):
            return await opened.take_step(step)


async def _holdings(settings: "Settings", job: "Digest", commit_set: Path | None) -> "Holdings":
    """Return what this requester has of the job; its scheduler is asked for what is missing."""
    from assay_node.services.order_records import read_commit_set, read_record
    from assay_node.services.road import Holdings

    record = read_record(settings.requester.home / "jobs", job)
    given = None if commit_set is None else read_commit_set(commit_set)
    if record is None:
        return Holdings(commit_set=given)
    return Holdings(
        signed_order=record.signed_order,
        commit_set=given or record.commit_set or await _ask_for_set(settings, record),
    )


async def _ask_for_set(settings: "Settings", record: "OrderRecord") -> Any:
    from assay_node.app import open_requester
    from assay_node.protocol.errors import AssayError

    try:
        async with open_requester(settings) as requester:
            return await requester.commit_set(record)
    except AssayError:
        return None  # a scheduler that is gone is why one is here


async def _appeal(settings: "Settings", text: str, *, yes: bool, as_json: bool) -> None:
    from assay_node.app import chain_settings
    from assay_node.chain.client import open_reader
    from assay_node.cli.wallets import wallet_address
    from assay_node.protocol.errors import LocalError
    from assay_node.protocol.ids import to_hex
    from assay_node.protocol.units import microusd_to_text
    from assay_node.services.court import appeal, docket_of

    job = job_id_of(settings, text)
    async with open_reader(chain_settings(settings)) as reader:
        docket = await docket_of(reader, job)
        found = appeal(docket, now=(await reader.head()).timestamp)
        free = (await reader.account(wallet_address(settings))).free_microusd
    if found.step is None:
        raise LocalError(f"job {to_hex(job)}: {found.text}")
    assert docket.matter is not None, "there is a step"
    cost = docket.matter.order.panel_cost_microusd
    if free < cost:
        raise LocalError(
            f"{found.text}; this wallet has {microusd_to_text(free)} free in the Vault: "
            f"assay wallet deposit {-(-cost // 10_000) / 100:.2f} --no-budget"
        )
    output.people().print(f"job {to_hex(job)}: {found.text}", markup=False)
    output.confirm("Appeal?", yes=yes)
    transaction = to_hex(await _take(settings, found.step))
    if as_json:
        output.print_json(
            {"job": to_hex(job), "set_aside_microusd": cost, "transaction": transaction}
        )
    else:
        output.results().print(f"a panel is called, by {transaction}", markup=False)


def _digest_of(text: str) -> "Digest":
    from assay_node.protocol import cid as cids
    from assay_node.protocol.errors import AssayError

    try:
        return cids.to_digest(cids.parse(text))
    except AssayError as error:
        raise typer.BadParameter(str(error)) from None
