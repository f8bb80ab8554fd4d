// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Deploy} from "../../script/Deploy.s.sol";
import {Market} from "../../src/Market.sol";
import {Providers} from "../../src/Providers.sol";
import {Road} from "../../src/Road.sol";
import {Vault} from "../../src/Vault.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IProviders} from "../../src/interfaces/IProviders.sol";
import {IRoad} from "../../src/interfaces/IRoad.sol";
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
        assertTrue(vault.isModule(address(road)), "the vault's road");
        assertEq(address(road.vault()), address(vault), "the road's vault");
        assertEq(address(road.providers()), address(providers), "the road's providers");
        assertEq(address(road.market()), address(market), "the road's market");
        assertTrue(vault.isModule(address(leases)), "the vault's leases");
        assertEq(address(leases.vault()), address(vault), "the leases' vault");
        assertEq(address(leases.providers()), address(providers), "the leases' providers");
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
        expectRevert(IRoad.Road_WiredToOther.selector);
        new Road(vault, providers, market); // at an address that is no module
        address[] memory modules = new address[](1);
        modules[0] = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        Vault vault_ = new Vault(usd, TREASURY, address(providers), address(market), modules);
        Road road_ = new Road(vault_, providers, market);
        assertEq(address(road_), modules[0], "a module of that vault");
        address[2] memory named = [address(providers), address(other.providers)];
        for (uint256 i = 0; i < 2; ++i) {
            // Each of the two others is another's once.
            modules[0] = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
            address market_ = i == 0 ? address(other.market) : address(market);
            vault_ = new Vault(usd, TREASURY, named[i], market_, modules);
            expectRevert(IRoad.Road_WiredToOther.selector);
            new Road(vault_, providers, market);
        }
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
            Parameters.SEED_WINDOW + Parameters.SEED_LIFE < Parameters.UNBONDING,
            "stake outlives the jobs it was drawn for"
        );
        assertTrue(
            Parameters.HORIZON + 2 * Parameters.ROAD_WINDOW <= Parameters.SEED_LIFE,
            "a seed outlives a road that was opened as the order expired"
        );
        assertTrue(
            Parameters.ROAD_WINDOW <= Parameters.SIGNER_GRACE, "a key outlives the road's last commits"
        );
        assertTrue(Parameters.MAX_REPLICAS <= 8, "a byte of bits");
        assertTrue(Parameters.SEAT_BACKING < Parameters.SEAT, "a seat starts covered");
    }

    function test_codeSize() public view {
        assertTrue(address(vault).code.length <= CODE_BYTES_MAX, "vault");
        assertTrue(address(providers).code.length <= CODE_BYTES_MAX, "providers");
        assertTrue(address(market).code.length <= CODE_BYTES_MAX, "market");
        assertTrue(address(road).code.length <= CODE_BYTES_MAX, "road");
        assertTrue(address(leases).code.length <= CODE_BYTES_MAX, "leases");
    }
}
