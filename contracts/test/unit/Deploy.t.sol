// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Deploy} from "../../script/Deploy.s.sol";
import {Market} from "../../src/Market.sol";
import {Providers} from "../../src/Providers.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IProviders} from "../../src/interfaces/IProviders.sol";
import {Parameters} from "../../src/libraries/Parameters.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @dev See Deploy.tree.
contract DeployTest is MarketFixture {
    uint256 private constant CODE_BYTES_MAX = 24_576;

    function test_wired() public view {
        assertEq(address(vault.token()), address(usd), "token");
        assertEq(vault.treasury(), TREASURY, "treasury");
        assertEq(vault.providers(), address(providers), "the vault's providers");
        assertEq(vault.market(), address(market), "the vault's market");
        assertEq(address(providers.vault()), address(vault), "the providers' vault");
        assertEq(address(market.vault()), address(vault), "the market's vault");
        assertEq(address(market.providers()), address(providers), "the market's providers");
    }

    function test_wiredToOther() public {
        Deploy script = new Deploy();
        Deploy.Deployment memory other = script.deploy(address(script), usd, TREASURY);
        vm.expectRevert(
            abi.encodeWithSelector(IProviders.Providers_WiredToOther.selector, address(providers))
        );
        new Providers(vault);
        vm.expectRevert(abi.encodeWithSelector(IMarket.Market_WiredToOther.selector, address(market)));
        new Market(vault, providers);
        vm.expectRevert(abi.encodeWithSelector(IMarket.Market_WiredToOther.selector, address(other.market)));
        new Market(other.vault, providers);
    }

    function test_parameters() public pure {
        assertTrue(Parameters.HORIZON <= Parameters.NOTICE, "a budget outlives the orders on it");
        assertTrue(Parameters.HORIZON <= Parameters.SIGNER_GRACE, "a key outlives what it signed");
        assertTrue(Parameters.SIGNER_GRACE <= Parameters.SIGNER_DELAY, "one former key at most");
        assertTrue(
            Parameters.SEED_WINDOW_BLOCKS * 12 <= Parameters.SEED_WINDOW,
            "the window where blocks are slowest"
        );
        assertTrue(
            Parameters.SEED_WINDOW + Parameters.HORIZON < Parameters.UNBONDING,
            "stake outlives the jobs it was drawn for"
        );
        assertTrue(Parameters.MAX_REPLICAS <= 8, "a byte of bits");
        assertTrue(Parameters.SEAT_BACKING < Parameters.SEAT, "a seat starts covered");
    }

    function test_codeSize() public view {
        assertTrue(address(vault).code.length <= CODE_BYTES_MAX, "vault");
        assertTrue(address(providers).code.length <= CODE_BYTES_MAX, "providers");
        assertTrue(address(market).code.length <= CODE_BYTES_MAX, "market");
    }
}
