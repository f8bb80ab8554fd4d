// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Raw} from "./Raw.sol";
import {TypedData} from "./TypedData.sol";

// Where in memory each word of the desk is. Assembly reads these, so they are literals of the file.

// The first.
uint256 constant DESK_AT = 0x200;

// How many votes there are.
uint256 constant DESK_COUNT = 0x200;
// Where the seed stands among those of the batch.
uint256 constant DESK_SEED = 0x220;
// Where the requester stands among those that sign once for the whole batch.
uint256 constant DESK_PAYER = 0x240;
// The order's signature (EIP-2098); of no meaning where the requester signs once.
uint256 constant DESK_R = 0x260;
uint256 constant DESK_VS = 0x280;

// Encoded Order: its typehash, and then its members.
uint256 constant DESK_ORDER_ENCODED = 0x2a0;
uint256 constant DESK_ORDER_ENCODED_BYTES = 0x260;
uint256 constant DESK_ORDER = 0x2c0;
uint256 constant DESK_ORDER_BYTES = 0x240;
uint256 constant DESK_REQUESTER = 0x2c0;
uint256 constant DESK_SPEC = 0x2e0;
uint256 constant DESK_HARDWARE_CLASS = 0x300;
uint256 constant DESK_SCHEDULER = 0x320;
uint256 constant DESK_FEE = 0x340;
uint256 constant DESK_MAX_RATE = 0x360;
uint256 constant DESK_MAX_SECONDS = 0x380;
uint256 constant DESK_BOND = 0x3a0;
uint256 constant DESK_REPLICAS = 0x3c0;
uint256 constant DESK_QUORUM = 0x3e0;
uint256 constant DESK_MAX_TICKET = 0x400;
uint256 constant DESK_COMMIT_WINDOW = 0x420;
uint256 constant DESK_REVEAL_WINDOW = 0x440;
uint256 constant DESK_SEED_BLOCK = 0x460;
uint256 constant DESK_EXPIRY = 0x480;
uint256 constant DESK_AUDIT_BPS = 0x4a0;
uint256 constant DESK_ESCALATE = 0x4c0;
uint256 constant DESK_NONCE = 0x4e0;

// Encoded Reveal: its typehash, and then its members.
uint256 constant DESK_REVEAL_ENCODED = 0x500;
uint256 constant DESK_REVEAL_ENCODED_BYTES = 0xc0;
uint256 constant DESK_JOB = 0x520;
uint256 constant DESK_COMMITS = 0x540;
uint256 constant DESK_REVEAL_TAG = 0x560;
uint256 constant DESK_REVEAL_RATE = 0x580;
uint256 constant DESK_REVEAL_SECS = 0x5a0;

// What is signed: 0x1901, the domain separator, and a struct hash.
uint256 constant DESK_SIGNED = 0x5c0;
uint256 constant DESK_SIGNED_BYTES = 0x42;
uint256 constant DESK_SIGNED_DOMAIN = 0x5c2;
uint256 constant DESK_SIGNED_HASH = 0x5e2;

// The commitments, one a word.
uint256 constant DESK_COMMITMENTS = 0x620;
// An array of the votes as Tally counts them.
uint256 constant DESK_TALLY = 0x720;
uint256 constant DESK_TALLY_FIRST = 0x740;
// The votes.
uint256 constant DESK_VOTES = 0x840;
// For plain receipts alone: the order's struct hash, the seconds that are paid, and what a signer is recovered from.
uint256 constant DESK_ORDER_HASH = 0x1340;
uint256 constant DESK_PAID = 0x1360;
uint256 constant DESK_RECOVERY = 0x1380;
// And what the record of a plain job has before its shares, and the last of them.
uint256 constant DESK_RECORD = 0x1400;
uint256 constant DESK_RECORD_BYTES = 0xc0;
uint256 constant DESK_RECORD_NONCE = 0x1440;
uint256 constant DESK_RECORD_VOTE = 0x1460;
uint256 constant DESK_RECORD_FEE = 0x14c0;
// All of it, with room for Parameters.MAX_REPLICAS commitments and votes.
uint256 constant DESK_BYTES = 0x12e0;

// In a vote, from its own start. The first five are what a commitment hashes, in its order.
uint256 constant VOTE_JOB = 0x00;
uint256 constant VOTE_OPERATOR = 0x20;
uint256 constant VOTE_TAG = 0x40;
uint256 constant VOTE_SECS = 0x60;
uint256 constant VOTE_SALT = 0x80;
uint256 constant COMMITMENT_ENCODED_BYTES = 0xa0;
uint256 constant VOTE_RATE = 0xa0;
uint256 constant VOTE_TICKET = 0xc0;
// Where the operator stands among those of the batch.
uint256 constant VOTE_PLACE = 0xe0;
// The reveal's signature (EIP-2098); of no meaning where the operator signs once.
uint256 constant VOTE_R = 0x100;
uint256 constant VOTE_VS = 0x120;
// Where the key that signed stands among the keys of the batch.
uint256 constant VOTE_KEY = 0x140;
uint256 constant VOTE_BYTES = 0x160;

/// @notice The place in memory where one receipt at a time is opened and judged, whatever form it came in.
/// @dev Made once for a batch, so that memory does not cost the square of the receipts, and always at the same place, so
/// that reading and writing it costs no arithmetic. What is hashed lies as it is encoded, so hashing copies nothing. A
/// number on it fits the width of the member of `Order` or `Replica` that it is.
library Desk {
    /// @notice Takes the memory, which must be free: an external function that needs the desk makes it first.
    function create() internal pure {
        uint256 free;
        assembly ("memory-safe") {
            free := mload(0x40)
            mstore(0x40, add(DESK_AT, DESK_BYTES))
        }
        assert(free <= DESK_AT);
    }

    /// @notice Writes what stays on it. Nothing else is read before it is written: a receipt's form writes every member
    /// of the order and its votes.
    function prepare(bytes32 domain) internal pure {
        Raw.store(DESK_ORDER_ENCODED, uint256(TypedData.ORDER_TYPEHASH));
        Raw.store(DESK_REVEAL_ENCODED, uint256(TypedData.REVEAL_TYPEHASH));
        Raw.store(DESK_SIGNED, 0x1901 << 240);
        Raw.store(DESK_SIGNED_DOMAIN, uint256(domain));
    }

    /// @notice Where the votes end.
    function endOfVotes() internal pure returns (uint256) {
        unchecked {
            return DESK_VOTES + Raw.load(DESK_COUNT) * VOTE_BYTES;
        }
    }

    /// @notice The digest of a struct hash, which is what is signed.
    function digest(uint256 structHash) internal pure returns (uint256) {
        Raw.store(DESK_SIGNED_HASH, structHash);
        return Raw.hash(DESK_SIGNED, DESK_SIGNED_BYTES);
    }
}
