// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {Order, Receipt} from "../../src/types/Orders.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";

/// @dev See Replay.tree.
contract ReplayTest is MarketFixture {
    /// @dev A lone replica: no other one's commitment ties its signature to the job.
    function test_replay_loneAnswer() public {
        Receipt memory earlier = _seal(_draft(_lone(1)));
        Receipt memory later = _draft(_lone(2));
        uint8 ticket = _ticketOf(later.order, earlier.replicas[0].operator);
        later.replicas[0] = earlier.replicas[0];
        later.replicas[0].ticket = ticket;
        later.requesterSig = _sign(keyOf[later.order.requester], market.jobId(later.order));
        _assertSkipped(later, IMarket.Market_SignerNotRegistered.selector);
        // The same answer, salt and seconds are good where they are signed for this job.
        _assertSettles(_seal(later));
    }

    function _lone(uint256 nonce) private view returns (Order memory order) {
        order = _order(0, nonce);
        (order.replicas, order.quorum, order.maxTicket) = (1, 1, 255);
    }

    function _ticketOf(Order memory order, address operator) private view returns (uint8) {
        address[] memory drawn =
            providers.draw(order.hardwareClass, order.seedBlock, market.jobId(order), order.maxTicket);
        for (uint256 ticket = 0; ticket < drawn.length; ++ticket) {
            if (drawn[ticket] == operator) return uint8(ticket);
        }
        revert NotTrue("256 tickets draw each of 12 operators");
    }
}
