// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Raw} from "./Raw.sol";
import {TypedData} from "./TypedData.sol";

/// @notice The place in memory where one receipt at a time is opened and judged, whatever form it came in.
/// @dev Made once for a batch, so that memory does not cost the square of the receipts. What is hashed lies as it is
/// encoded, so hashing copies nothing. The constants say how far from the desk's start each word is; a number in it
/// fits the width of the member of `Order` or `Replica` that it is.
library Desk {
    /// How many votes there are.
    uint256 internal constant COUNT = 0x00;
    /// Where the seed stands among those of the batch.
    uint256 internal constant SEED = 0x20;
    /// Where the requester stands among those that sign once for the whole batch.
    uint256 internal constant PAYER = 0x40;
    /// The order's signature (EIP-2098); of no meaning where the requester signs once.
    uint256 internal constant R = 0x60;
    uint256 internal constant VS = 0x80;

    /// Encoded Order: its typehash, and then its members.
    uint256 internal constant ORDER_ENCODED = 0xa0;
    uint256 internal constant ORDER_ENCODED_BYTES = 0x260;
    uint256 internal constant ORDER = 0xc0;
    uint256 internal constant ORDER_BYTES = 0x240;
    uint256 internal constant REQUESTER = 0xc0;
    uint256 internal constant SPEC = 0xe0;
    uint256 internal constant HARDWARE_CLASS = 0x100;
    uint256 internal constant SCHEDULER = 0x120;
    uint256 internal constant FEE = 0x140;
    uint256 internal constant MAX_RATE = 0x160;
    uint256 internal constant MAX_SECONDS = 0x180;
    uint256 internal constant BOND = 0x1a0;
    uint256 internal constant REPLICAS = 0x1c0;
    uint256 internal constant QUORUM = 0x1e0;
    uint256 internal constant MAX_TICKET = 0x200;
    uint256 internal constant COMMIT_WINDOW = 0x220;
    uint256 internal constant REVEAL_WINDOW = 0x240;
    uint256 internal constant SEED_BLOCK = 0x260;
    uint256 internal constant EXPIRY = 0x280;
    uint256 internal constant AUDIT_BPS = 0x2a0;
    uint256 internal constant ESCALATE = 0x2c0;
    uint256 internal constant NONCE = 0x2e0;

    /// Encoded Reveal: its typehash, and then its members.
    uint256 internal constant REVEAL_ENCODED = 0x300;
    uint256 internal constant REVEAL_ENCODED_BYTES = 0xc0;
    uint256 internal constant JOB = 0x320;
    uint256 internal constant COMMITS = 0x340;
    uint256 internal constant REVEAL_TAG = 0x360;
    uint256 internal constant REVEAL_RATE = 0x380;
    uint256 internal constant REVEAL_SECS = 0x3a0;

    /// What is signed: 0x1901, the domain separator, and a struct hash.
    uint256 internal constant SIGNED = 0x3c0;
    uint256 internal constant SIGNED_BYTES = 0x42;
    uint256 internal constant SIGNED_DOMAIN = 0x3c2;
    uint256 internal constant SIGNED_HASH = 0x3e2;

    /// The commitments, one a word.
    uint256 internal constant COMMITMENTS = 0x420;
    /// An array of the votes as Tally counts them.
    uint256 internal constant TALLY = 0x520;
    uint256 internal constant TALLY_FIRST = 0x540;
    /// The votes.
    uint256 internal constant VOTES = 0x640;
    /// All of it, with room for Parameters.MAX_REPLICAS commitments and votes.
    uint256 internal constant BYTES = 0x1140;

    // In a vote, from its own start. The first five are what a commitment hashes, in its order.
    uint256 internal constant VOTE_JOB = 0x00;
    uint256 internal constant VOTE_OPERATOR = 0x20;
    uint256 internal constant VOTE_TAG = 0x40;
    uint256 internal constant VOTE_SECS = 0x60;
    uint256 internal constant VOTE_SALT = 0x80;
    uint256 internal constant COMMITMENT_ENCODED_BYTES = 0xa0;
    uint256 internal constant VOTE_RATE = 0xa0;
    uint256 internal constant VOTE_TICKET = 0xc0;
    /// Where the operator stands among those of the batch.
    uint256 internal constant VOTE_PLACE = 0xe0;
    /// The reveal's signature (EIP-2098); of no meaning where the operator signs once.
    uint256 internal constant VOTE_R = 0x100;
    uint256 internal constant VOTE_VS = 0x120;
    /// Where the key that signed stands among the keys of the batch.
    uint256 internal constant VOTE_KEY = 0x140;
    uint256 internal constant VOTE_BYTES = 0x160;

    function create(bytes32 domain) internal pure returns (uint256 desk) {
        desk = Raw.allocate(BYTES);
        // Nothing else is read before it is written: a receipt's form writes every member of the order and its votes.
        Raw.store(desk + ORDER_ENCODED, uint256(TypedData.ORDER_TYPEHASH));
        Raw.store(desk + REVEAL_ENCODED, uint256(TypedData.REVEAL_TYPEHASH));
        Raw.store(desk + SIGNED, 0x1901 << 240);
        Raw.store(desk + SIGNED_DOMAIN, uint256(domain));
    }

    /// @notice Where the votes end.
    function endOfVotes(uint256 desk) internal pure returns (uint256) {
        unchecked {
            return desk + VOTES + Raw.load(desk + COUNT) * VOTE_BYTES;
        }
    }

    /// @notice The digest of a struct hash, which is what is signed.
    function digest(uint256 desk, uint256 structHash) internal pure returns (uint256) {
        unchecked {
            Raw.store(desk + SIGNED_HASH, structHash);
            return Raw.hash(desk + SIGNED, SIGNED_BYTES);
        }
    }
}
