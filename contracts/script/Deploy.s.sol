// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Leases} from "../src/Leases.sol";
import {Market} from "../src/Market.sol";
import {Providers} from "../src/Providers.sol";
import {Road} from "../src/Road.sol";
import {Vault} from "../src/Vault.sol";
import {Vm, vm} from "../test/utils/Vm.sol";
import {TestUsd} from "./TestUsd.sol";

/// @notice Deploys a market: Vault, Providers, Market and Road, wired to each other for good.
/// @dev Reads from the environment:
/// ASSAY_TOKEN the ERC-20 that is paid with (a new TestUsd where none is named)
/// ASSAY_TREASURY who receives what is slashed (the deployer where nobody is named)
/// ASSAY_DEPLOYMENT_OUT where to write the deployment's JSON, an absolute path (not written where none is named).
/// The file is written before the transactions are sent: it is good if the command exits with 0.
contract Deploy {
    /// @notice A wired market.
    struct Deployment {
        IERC20 token;
        Vault vault;
        Providers providers;
        Market market;
        Road road;
        Leases leases;
        address treasury;
    }

    error Deploy_AddressPredictedWrong(address predicted, address actual);

    /// @notice Called by `forge script`; the sender is the deployer.
    function run() external {
        uint256 deployBlock = vm.getBlockNumber();
        address treasury = vm.envOr("ASSAY_TREASURY", msg.sender);
        address token = vm.envOr("ASSAY_TOKEN", address(0));

        vm.startBroadcast();
        if (token == address(0)) token = address(new TestUsd());
        Deployment memory deployment = deploy(msg.sender, IERC20(token), treasury);
        vm.stopBroadcast();

        string memory path = vm.envOr("ASSAY_DEPLOYMENT_OUT", string(""));
        if (bytes(path).length != 0) {
            if (vm.isContext(Vm.ForgeContext.ScriptBroadcast)) _write(deployment, deployBlock, path);
        }
    }

    /// @notice Deploys the five contracts. `deployer` is whoever the creations come from.
    /// @dev Each must know the others for ever and nobody may have the power to tell them later: so the Vault is
    /// told the addresses that the next four creations will have.
    function deploy(address deployer, IERC20 token, address treasury)
        public
        returns (Deployment memory deployment)
    {
        uint256 nonce = vm.getNonce(deployer);
        address providers = vm.computeCreateAddress(deployer, nonce + 1);
        address market = vm.computeCreateAddress(deployer, nonce + 2);
        address[] memory modules = new address[](2);
        modules[0] = vm.computeCreateAddress(deployer, nonce + 3);
        modules[1] = vm.computeCreateAddress(deployer, nonce + 4);
        deployment.token = token;
        deployment.treasury = treasury;
        deployment.vault = new Vault(token, treasury, providers, market, modules);
        deployment.providers = new Providers(deployment.vault);
        deployment.market = new Market(deployment.vault, deployment.providers);
        deployment.road = new Road(deployment.vault, deployment.providers, deployment.market);
        deployment.leases = new Leases(deployment.vault);
        if (address(deployment.providers) != providers) {
            revert Deploy_AddressPredictedWrong(providers, address(deployment.providers));
        }
        if (address(deployment.market) != market) {
            revert Deploy_AddressPredictedWrong(market, address(deployment.market));
        }
        if (address(deployment.road) != modules[0]) {
            revert Deploy_AddressPredictedWrong(modules[0], address(deployment.road));
        }
        if (address(deployment.leases) != modules[1]) {
            revert Deploy_AddressPredictedWrong(modules[1], address(deployment.leases));
        }
    }

    function _write(Deployment memory deployment, uint256 deployBlock, string memory path) private {
        string memory object = "deployment";
        vm.serializeUint(object, "chainId", block.chainid);
        vm.serializeUint(object, "deployBlock", deployBlock);
        vm.serializeAddress(object, "token", address(deployment.token));
        vm.serializeAddress(object, "vault", address(deployment.vault));
        vm.serializeAddress(object, "providers", address(deployment.providers));
        vm.serializeAddress(object, "market", address(deployment.market));
        vm.serializeAddress(object, "road", address(deployment.road));
        vm.serializeAddress(object, "leases", address(deployment.leases));
        vm.writeJson(vm.serializeAddress(object, "treasury", deployment.treasury), path);
    }
}
