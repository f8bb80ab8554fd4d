// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A token with a number of decimals of one's choice.
contract PlainToken is ERC20 {
    uint8 private immutable DECIMALS;

    constructor(uint8 decimals_) ERC20("Plain", "PLAIN") {
        DECIMALS = decimals_;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function decimals() public view override returns (uint8) {
        return DECIMALS;
    }
}

/// @notice A token that burns a hundredth of every transfer.
contract TaxedToken is PlainToken(6) {
    function _update(address from, address to, uint256 amount) internal override {
        if (from != address(0) && to != address(0)) {
            super._update(from, address(0), amount / 100);
            amount -= amount / 100;
        }
        super._update(from, to, amount);
    }
}

interface ISender {
    function onSending() external;
}

/// @notice A token that calls its sender before it moves, as ERC-777 does.
contract HookedToken is PlainToken(6) {
    function _update(address from, address to, uint256 amount) internal override {
        if (from.code.length != 0) ISender(from).onSending();
        super._update(from, to, amount);
    }
}
