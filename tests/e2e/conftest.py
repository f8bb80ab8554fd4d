"""One real market for all end-to-end tests: Anvil, contracts, scheduler, seven provider daemons."""

import shutil
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from assay_node.devnet.market import LIAR, Market, MarketSettings

HONEST = 4  # one more than a job needs, so that one can be replaced
LIARS = 3
LIARS_CLASS = "cpu-liars"
"""A class of its own: a job ordered there is drawn among liars only."""
SLOW_AND_EXACT = {
    "ASSAY_PROVIDER__EXACT__ENGINE": "float64",
    "ASSAY_PROVIDER__EXACT__THREADS": "2",
    "ASSAY_PROVIDER__EXACT__INSTRUCTION_SET": "baseline",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    """Return the market; a test that breaks a part of it mends it before it ends."""
    numbers = range(HONEST + 1, HONEST + LIARS + 1)
    settings = MarketSettings(
        directory=tmp_path_factory.mktemp("market"),
        providers=HONEST + LIARS,
        personas=dict.fromkeys(numbers, LIAR),
        hardware_classes=dict.fromkeys(numbers, LIARS_CLASS),
        # Above the five seconds that a provider may wait before it connects again.
        environment={"ASSAY_SCHEDULER__LEASE_GRACE_S": "6"},
        # Two of the four compute exact jobs otherwise, so no three of them are alike.
        provider_environments=dict.fromkeys((1, 2), SLOW_AND_EXACT),
    )
    async with Market(settings, tell=print) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def requester(market: Market, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of a requester with a wallet and a budget."""
    home = tmp_path_factory.mktemp("requester")
    await market.new_requester(home)
    return home


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a job's directory: a Python program and its job.toml."""

    def write(program: str, name: str = "job", **keys: object) -> Path:
        folder = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "main.py").write_text(textwrap.dedent(program))
        resources = keys.pop("resources", {})
        values: dict[str, object] = {
            "name": name,
            "command": ["python", "/input/main.py"],
            "exact": "as-is",  # these programs write text
            "max_price": "0.002",
            "timeout_s": 60,
            "max_ticket": 63,  # so that, with few operators, each is drawn whatever the seed
            **keys,
        }
        lines = [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
        lines += ["[resources]", *(f"{key} = {_toml(v)}" for key, v in dict(resources).items())]
        (folder / "job.toml").write_text("\n".join(lines) + "\n")
        return folder

    yield write
    shutil.rmtree(tmp_path, ignore_errors=True)


def _toml(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)
