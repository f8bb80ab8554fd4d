// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order, Receipt, Replica} from "../../src/types/Orders.sol";

/// @notice What a receipt should do to everybody, written another way than Tally and Vault.
/// @dev It counts instead of grouping and sorting: a replica wins if a quorum of replicas said what it said, and the
/// lower median is the value with fewer than half of the winners below it and at least half up to it.
library PayoutModel {
    struct Outcome {
        bool agreed;
        uint256[] paid;
        uint256[] slashed;
        uint256 fee;
        uint256 cost;
    }

    function expected(Receipt memory receipt, uint256[] memory stakes)
        internal
        pure
        returns (Outcome memory out)
    {
        Order memory order = receipt.order;
        Replica[] memory replicas = receipt.replicas;
        out.paid = new uint256[](replicas.length);
        out.slashed = new uint256[](replicas.length);
        bool[] memory wins = new bool[](replicas.length);
        for (uint256 i = 0; i < replicas.length; ++i) {
            wins[i] = _sayingSame(replicas, bytes28(replicas[i].tag)) >= order.quorum;
            out.agreed = out.agreed || wins[i];
        }
        uint256 secs = _least(_median(replicas, wins), order.maxSeconds);
        for (uint256 i = 0; i < replicas.length; ++i) {
            if (wins[i]) {
                out.paid[i] = replicas[i].rate * secs;
            } else if (out.agreed) {
                out.slashed[i] = _least(order.bond, stakes[i]);
            } else {
                out.paid[i] = replicas[i].rate * _least(replicas[i].secs, order.maxSeconds) / 4;
            }
            out.cost += out.paid[i];
        }
        if (out.agreed) out.fee = order.fee;
        out.cost += out.fee;
    }

    /// @notice The same for the on-chain road, where some never committed and some never revealed.
    /// @dev It builds the receipt of those who spoke and asks again, with every silent promise broken.
    /// @param entered One bit per replica that committed; `revealed` of those that also opened.
    function onRoad(Receipt memory receipt, uint256 entered, uint256 revealed)
        internal
        pure
        returns (Outcome memory out)
    {
        uint256 k = receipt.replicas.length;
        (out.paid, out.slashed) = (new uint256[](k), new uint256[](k));
        if (_bits(entered) < receipt.order.quorum) return out;
        Outcome memory spoken = expected(_only(receipt, revealed), new uint256[](k));
        (out.agreed, out.fee, out.cost) = (spoken.agreed, spoken.fee, spoken.cost);
        uint256 next = 0;
        for (uint256 i = 0; i < k; ++i) {
            bool speaks = revealed >> i & 1 == 1;
            if (speaks) out.paid[i] = spoken.paid[next++];
            bool loses = speaks ? out.agreed && !_won(receipt, revealed, i) : entered >> i & 1 == 1;
            if (loses) out.slashed[i] = receipt.order.bond;
        }
    }

    function _only(Receipt memory receipt, uint256 chosen) private pure returns (Receipt memory part) {
        part.order = receipt.order;
        part.replicas = new Replica[](_bits(chosen));
        uint256 next = 0;
        for (uint256 i = 0; i < receipt.replicas.length; ++i) {
            if (chosen >> i & 1 == 1) part.replicas[next++] = receipt.replicas[i];
        }
    }

    function _won(Receipt memory receipt, uint256 revealed, uint256 i) private pure returns (bool) {
        Replica[] memory spoken = _only(receipt, revealed).replicas;
        return _sayingSame(spoken, bytes28(receipt.replicas[i].tag)) >= receipt.order.quorum;
    }

    function _bits(uint256 mask) private pure returns (uint256 count) {
        for (; mask != 0; mask >>= 1) {
            count += mask & 1;
        }
    }

    function _sayingSame(Replica[] memory replicas, bytes28 answer) private pure returns (uint256 count) {
        for (uint256 i = 0; i < replicas.length; ++i) {
            if (bytes28(replicas[i].tag) == answer) ++count;
        }
    }

    function _median(Replica[] memory replicas, bool[] memory wins) private pure returns (uint256) {
        for (uint256 i = 0; i < replicas.length; ++i) {
            if (!wins[i]) continue;
            (uint256 below, uint256 upTo, uint256 all) = (0, 0, 0);
            for (uint256 n = 0; n < replicas.length; ++n) {
                if (!wins[n]) continue;
                ++all;
                if (replicas[n].secs < replicas[i].secs) ++below;
                if (replicas[n].secs <= replicas[i].secs) ++upTo;
            }
            if (2 * below < all && 2 * upTo >= all) return replicas[i].secs;
        }
        return 0;
    }

    function _least(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
