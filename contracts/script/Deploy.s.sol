// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Court} from "../src/Court.sol";
import {Leases} from "../src/Leases.sol";
import {Market} from "../src/Market.sol";
import {Providers} from "../src/Providers.sol";
import {Road} from "../src/Road.sol";
import {Schedulers} from "../src/Schedulers.sol";
import {Vault} from "../src/Vault.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {vm} from "../test/utils/Vm.sol";
import {TestUsd} from "./TestUsd.sol";

/// @notice Deploys a market: Vault, Providers, Market and the Vault's modules, wired to each other for good.
/// @dev Reads from the environment:
/// ASSAY_TOKEN the ERC-20 that is paid with (a new TestUsd where none is named)
/// ASSAY_TREASURY who receives what is slashed (the deployer where nobody is named)
/// ASSAY_DEPLOYMENT_OUT where to write the deployment's JSON, an absolute path (not written where none is named).
/// The file is written before any transaction is sent: `assay contracts deploy` runs this without sending, sends
/// the transactions itself, and hands the file on once the code on the chain is what was built.
contract Deploy {
    /// @notice A wired market.
    struct Deployment {
        IERC20 token;
        Vault vault;
        Providers providers;
        Market market;
        Road road;
        Leases leases;
        Court court;
        Schedulers schedulers;
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
        if (bytes(path).length != 0) _write(deployment, deployBlock, path);
    }

    /// @notice Deploys the contracts. `deployer` is whoever the creations come from.
    /// @dev Each must know the others for ever and nobody may have the power to tell them later: so the Vault is
    /// told the addresses that the next six creations will have, and Market and Road that of the Court.
    function deploy(address deployer, IERC20 token, address treasury)
        public
        returns (Deployment memory deployment)
    {
        uint256 nonce = vm.getNonce(deployer);
        address providers = vm.computeCreateAddress(deployer, nonce + 1);
        address market = vm.computeCreateAddress(deployer, nonce + 2);
        address[] memory modules = new address[](4);
        modules[0] = vm.computeCreateAddress(deployer, nonce + 3);
        modules[1] = vm.computeCreateAddress(deployer, nonce + 4);
        modules[2] = vm.computeCreateAddress(deployer, nonce + 5);
        modules[3] = vm.computeCreateAddress(deployer, nonce + 6);
        deployment.token = token;
        deployment.treasury = treasury;
        deployment.vault = new Vault(token, treasury, providers, market, modules);
        deployment.providers = new Providers(deployment.vault);
        deployment.market = new Market(deployment.vault, deployment.providers, ICourt(modules[2]));
        deployment.road =
            new Road(deployment.vault, deployment.providers, deployment.market, ICourt(modules[2]));
        deployment.leases = new Leases(deployment.vault);
        deployment.court =
            new Court(deployment.vault, deployment.providers, deployment.market, deployment.road);
        deployment.schedulers = new Schedulers(deployment.vault);
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
        if (address(deployment.court) != modules[2]) {
            revert Deploy_AddressPredictedWrong(modules[2], address(deployment.court));
        }
        if (address(deployment.schedulers) != modules[3]) {
            revert Deploy_AddressPredictedWrong(modules[3], address(deployment.schedulers));
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
        vm.serializeAddress(object, "court", address(deployment.court));
        vm.serializeAddress(object, "schedulers", address(deployment.schedulers));
        vm.writeJson(vm.serializeAddress(object, "treasury", deployment.treasury), path);
    }
}
