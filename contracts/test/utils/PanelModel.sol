// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Receipt} from "../../src/types/Orders.sol";
import {PayoutModel} from "./PayoutModel.sol";

/// @notice What a panel should do to everybody, from what was said in the first round and in the panel alone.
/// @dev It counts answers by name, where the contracts compare hashes, and sums what everybody ends up with, where they
/// move money step by step. Everybody has stake enough.
library PanelModel {
    uint256 internal constant NOBODY = type(uint256).max;

    /// @dev Answers are small numbers; one hex digit each, the first replica's lowest.
    struct Said {
        Receipt receipt;
        uint256 answers;
        /// The panel's.
        Receipt sitting;
        uint256 panelAnswers;
        uint256 entered;
        uint256 revealed;
        /// Whether somebody showed the panel's output in time.
        bool shown;
    }

    struct Ends {
        /// Of the first round's operators: what their free money gained and their stake lost.
        uint256[] gained;
        uint256[] lost;
        /// The same of the panel's.
        uint256[] panelGained;
        uint256[] panelLost;
        /// What the requester, and whoever paid for the panel, are short of.
        uint256 requesterPaid;
        uint256 payerPaid;
        uint256 treasury;
    }

    function expected(Said memory said, bool escalation) internal pure returns (Ends memory ends) {
        uint256[] memory stakes = new uint256[](said.receipt.replicas.length);
        for (uint256 i = 0; i < stakes.length; ++i) {
            stakes[i] = said.receipt.order.bond;
        }
        PayoutModel.Outcome memory first = PayoutModel.expected(said.receipt, stakes);
        PayoutModel.Outcome memory panel = PayoutModel.onRoad(said.sitting, said.entered, said.revealed);
        (ends.gained, ends.lost) = (first.paid, first.slashed);
        (ends.panelGained, ends.panelLost) = (panel.paid, panel.slashed);
        for (uint256 i = 0; i < panel.slashed.length; ++i) {
            ends.treasury += panel.slashed[i];
        }
        ends.requesterPaid = first.cost + (escalation ? panel.cost : 0);
        if (escalation) return ends;

        uint256 truth = panel.agreed ? _most(said.panelAnswers, said.entered & said.revealed) : NOBODY;
        uint256 taken = _carryOut(said, ends, truth);
        uint256 covered = taken < panel.cost ? taken : panel.cost;
        uint256 refund = taken - covered < first.cost ? taken - covered : first.cost;
        ends.payerPaid = panel.cost - covered;
        ends.requesterPaid -= refund;
        ends.treasury += taken - covered - refund;
    }

    /// @dev Who keeps and loses what of the first round; what the winners lose is returned.
    function _carryOut(Said memory said, Ends memory ends, uint256 truth)
        private
        pure
        returns (uint256 taken)
    {
        uint256 k = said.receipt.replicas.length;
        uint256 believed = _most(said.answers, (1 << k) - 1);
        bool contradicted =
            truth != NOBODY && (said.shown ? believed != truth : said.receipt.order.auditBps != 0);
        for (uint256 i = 0; i < k; ++i) {
            uint256 answer = said.answers >> 4 * i & 15;
            if (answer == believed) {
                if (contradicted) {
                    (ends.lost[i], taken) = (said.receipt.order.bond, taken + said.receipt.order.bond);
                }
            } else if (truth == NOBODY || said.shown && answer == truth) {
                ends.gained[i] += ends.lost[i]; // comes back as free money
            } else {
                ends.treasury += ends.lost[i];
            }
        }
    }

    /// @dev The answer that most of the chosen gave.
    function _most(uint256 answers, uint256 chosen) private pure returns (uint256 best) {
        uint256[16] memory counts;
        for (uint256 i = 0; i < 32; ++i) {
            if (chosen >> i & 1 == 1) ++counts[answers >> 4 * i & 15];
        }
        for (uint256 answer = 1; answer < 16; ++answer) {
            if (counts[answer] > counts[best]) best = answer;
        }
    }
}
