"""`assay contracts deploy | verify`: put a market on a chain, and check one that is there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption, PasswordFileOption, YesOption

if TYPE_CHECKING:
    from assay_node.deploying.verification import Verification

app = typer.Typer(help="Deploy a market and verify one.", no_args_is_help=True)


@app.command("deploy")
def deploy(
    config: Annotated[
        Path, typer.Option("--market", help="What to deploy: a file of contracts/deployments.")
    ],
    out: Annotated[Path, typer.Option(help="Where to write the deployment file.")],
    wallet: Annotated[
        str | None,
        typer.Option(help="The wallet that pays; by default requester.wallet.", show_default=False),
    ] = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Deploy the contracts from a checkout, verify their code, and write the deployment file.

    The wallet pays for gas and has no power over the market afterwards; nobody has. Its key signs
    here and is never an argument of another program. What is deployed is final: to change it,
    deploy anew.
    """
    from assay_node.app import sending_settings
    from assay_node.chain import deployment as deployments
    from assay_node.cli.wallets import load_wallet
    from assay_node.deploying import config as configs
    from assay_node.deploying.deploy import deploy as deploy_market
    from assay_node.protocol.errors import LocalError
    from assay_node.settings import assay_home

    mine = output.settings({"password_file": password_file})
    market = configs.load(config)
    if out.exists():
        raise LocalError(f"{out} exists already; a deployment is never overwritten")
    token = "a new test token" if market.token is None else f"{market.token.symbol}"
    output.people().print(
        f"This will create a market on chain {market.chain_id}, paid in {token}, whose slashed "
        f"stake goes to {market.treasury}."
    )
    output.confirm("Go on?", yes=yes)
    deployed = output.run(
        deploy_market(
            market,
            load_wallet(mine, wallet),
            rpc_url=mine.chain.rpc_url,
            sending=sending_settings(mine),
            journals=assay_home() / "transactions",
            tell=lambda sentence: output.people().print(sentence),
        )
    )
    deployments.save(deployed, out)
    if as_json:
        output.print_json(deployed)
        return
    output.results().print(f"the market is deployed and verified; {out} says where it is")


@app.command("verify")
def verify(
    deployment: Annotated[
        Path | None,
        typer.Option(help="The deployment file; by default chain.deployment.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the code on the chain with what this checkout builds, byte for byte.

    Immutables are left out of the comparison and asked for instead: token, treasury, and which
    contract trusts which. Exits with 1 where anything differs.
    """
    from assay_node.deploying.deploy import verify_deployment
    from assay_node.protocol.errors import LocalError

    mine = output.settings()
    path = deployment or mine.chain.deployment
    with output.spinner("Building the contracts and reading the chain"):
        found = output.run(verify_deployment(path, rpc_url=mine.chain.rpc_url))
    if as_json:
        output.print_json(
            {"good": found.good, "contracts": found.contracts, "faults": found.faults}
        )
    else:
        _show(found)
    if not found.good:
        raise LocalError(f"this is not what was built: {'; '.join(found.reasons)}")


def _show(found: "Verification") -> None:
    from assay_node.protocol.ids import to_hex

    for contract in found.contracts:
        verdict = contract.fault or "is what was built"
        output.results().print(f"{contract.name:<10} {contract.address}  {verdict}")
        output.results().print(f"{'':<10} code hash {to_hex(contract.code_hash)}")
