// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
// Assembly uses them, which solhint does not see.
// solhint-disable no-unused-import
import {
    BATCH_CLAIMS,
    BATCH_JOBS,
    BATCH_KEYS,
    BATCH_NEWEST_KEYS,
    BATCH_PAYERS,
    BATCH_RECORDS,
    BATCH_REVEALERS,
    Batch,
    SIGNED_HASHES
} from "./Batches.sol";
import {
    COMMITMENT_ENCODED_BYTES,
    DESK_COMMITMENTS,
    DESK_COMMITS,
    DESK_EXPIRY,
    DESK_JOB,
    DESK_MAX_RATE,
    DESK_MAX_SECONDS,
    DESK_MAX_TICKET,
    DESK_NONCE,
    DESK_ORDER_ENCODED,
    DESK_ORDER_ENCODED_BYTES,
    DESK_ORDER_HASH,
    DESK_PAID,
    DESK_PAYER,
    DESK_R,
    DESK_RECORD,
    DESK_RECORD_BYTES,
    DESK_RECORD_FEE,
    DESK_RECORD_NONCE,
    DESK_RECORD_VOTE,
    DESK_RECOVERY,
    DESK_REPLICAS,
    DESK_REVEAL_ENCODED,
    DESK_REVEAL_ENCODED_BYTES,
    DESK_REVEAL_RATE,
    DESK_REVEAL_SECS,
    DESK_REVEAL_TAG,
    DESK_SEED,
    DESK_SIGNED,
    DESK_SIGNED_BYTES,
    DESK_SIGNED_HASH,
    DESK_SPEC,
    DESK_TALLY,
    DESK_TALLY_FIRST,
    DESK_VOTES,
    DESK_VS,
    VOTE_OPERATOR,
    VOTE_SALT,
    VOTE_SECS,
    VOTE_TAG
} from "./Desk.sol";
import {
    READER_END,
    READER_ENTRIES,
    READER_HORIZON,
    READER_OPERATORS,
    READER_ORDER_SIGNATURE,
    READER_PLAIN_BYTES,
    READER_PLAIN_HEAD,
    READER_POSITION,
    READER_RECEIPTS,
    READER_REPLICAS,
    READER_REVEAL_SIGNATURE
} from "./Packed.sol";
import {Raw} from "./Raw.sol";
import {S_MAX} from "./Signatures.sol";
import {Tally} from "./Tally.sol";
import {FIRST_AT} from "./Words.sol";

// solhint-enable no-unused-import

/// @notice The plain receipt of the packed form: all replicas agree, and nothing about it is wrong.
/// @dev Nearly all receipts are plain, so these are read where they lie in the call data, in two passes over the
/// replicas, without being opened on the desk vote by vote. The functions say only whether a receipt is plain so far.
/// Where they say no, they have left nothing that counts: `Packed.next` opens the receipt on the desk and `Judge` finds out.
/// A fuzz test settles the same receipts in the ABI form, which takes the other way for all of them.
///
/// The first word of a receipt holds: terms (2), seed (2), replicas (1), bits of own tags (1), nonce (1), expiry (8); that
/// of a replica: operator (2), ticket (1), secs (4), rate (8). What follows has places of its own.
library Plain {
    // Where these are, and how long.
    uint256 private constant SPEC_AT = 15;
    uint256 private constant TAG_AT = 47;
    uint256 private constant ORDER_R_AT = 79;
    uint256 private constant ORDER_VS_AT = 111;
    uint256 private constant RECEIPT_BYTES = 79;
    uint256 private constant SALT_AT = 15;
    uint256 private constant REPLICA_R_AT = 47;
    uint256 private constant REPLICA_VS_AT = 79;
    uint256 private constant REPLICA_BYTES = 47;
    uint256 private constant SIGNED_REPLICA_BYTES = 111;

    /// @notice The first pass: everything but signatures. Leaves what the second needs on the desk, and the job's claims
    /// after those of the batch.
    function read() internal view returns (bool plain) {
        plain = _identify() && _commit();
        if (plain) _setPaid();
    }

    /// @notice The second pass where operators sign each reveal: whether all did, and each with the one key that it has
    /// used in the batch so far. Writes the shares of the job's record.
    function recover() internal view returns (bool good) {
        assembly ("memory-safe") {
            let at := add(add(mload(READER_POSITION), RECEIPT_BYTES), mload(READER_ORDER_SIGNATURE))
            let share := add(mload(mload(BATCH_RECORDS)), 0xc0)
            let end := add(share, shl(5, mload(DESK_REPLICAS)))
            good := 1
            for {} lt(share, end) { share := add(share, 0x20) } {
                let entry := calldataload(at)
                {
                    let rate := and(shr(136, entry), 0xffffffffffffffff)
                    mstore(DESK_REVEAL_RATE, rate)
                    mstore(DESK_REVEAL_SECS, and(shr(200, entry), 0xffffffff))
                    entry := mload(add(mload(READER_ENTRIES), shl(5, shr(240, entry))))
                    mstore(share, or(entry, shl(160, mul(rate, mload(DESK_PAID))))) // ShareKind.Won
                }
                // The digest of the reveal, and who signed it: as Signatures.recover.
                let input := DESK_SIGNED_HASH
                mstore(input, keccak256(DESK_REVEAL_ENCODED, DESK_REVEAL_ENCODED_BYTES))
                input := DESK_RECOVERY
                mstore(input, keccak256(DESK_SIGNED, DESK_SIGNED_BYTES))
                let s := calldataload(add(at, REPLICA_VS_AT))
                mstore(add(input, 0x20), add(27, shr(255, s)))
                s := shr(1, shl(1, s))
                mstore(add(input, 0x40), calldataload(add(at, REPLICA_R_AT)))
                mstore(add(input, 0x60), s)
                pop(staticcall(gas(), 1, input, 0x80, 0, 0x20))
                let signer := mul(mload(0), and(eq(returndatasize(), 0x20), iszero(gt(s, S_MAX))))
                if iszero(signer) {
                    good := 0
                    break
                }
                // The key's place and the key, as Batches.keyOf keeps them. Its first key has the operator's place.
                entry := shr(232, entry)
                let newest := add(add(mload(BATCH_NEWEST_KEYS), FIRST_AT), shl(5, entry))
                if xor(mload(newest), or(shl(160, entry), signer)) {
                    if xor(mload(newest), shl(160, entry)) {
                        good := 0
                        break
                    }
                    mstore(newest, or(shl(160, entry), signer))
                    newest := add(add(mload(BATCH_KEYS), FIRST_AT), shl(6, entry))
                    mstore(add(newest, 0x20), signer)
                }
                at := add(at, SIGNED_REPLICA_BYTES)
            }
        }
    }

    /// @notice The second pass where operators sign once: lists the reveals. Writes the shares of the job's record.
    function list(Batch memory batch) internal pure {
        uint256 full;
        assembly ("memory-safe") {
            let at := add(add(mload(READER_POSITION), RECEIPT_BYTES), mload(READER_ORDER_SIGNATURE))
            let share := add(mload(mload(BATCH_RECORDS)), 0xc0)
            let end := add(share, shl(5, mload(DESK_REPLICAS)))
            for {} lt(share, end) { share := add(share, 0x20) } {
                let head := calldataload(at)
                let rate := and(shr(136, head), 0xffffffffffffffff)
                mstore(DESK_REVEAL_RATE, rate)
                mstore(DESK_REVEAL_SECS, and(shr(200, head), 0xffffffff))
                head := shl(5, shr(240, head)) // from here on the place in words
                rate := shl(160, mul(rate, mload(DESK_PAID)))
                mstore(share, or(mload(add(mload(READER_ENTRIES), head)), rate)) // ShareKind.Won
                let hashes := add(add(mload(BATCH_REVEALERS), 0x20), head)
                hashes := mload(add(mload(hashes), SIGNED_HASHES))
                let next := mload(hashes)
                if iszero(lt(next, mload(add(hashes, 0x20)))) {
                    full := add(head, 0x20)
                    break
                }
                mstore(next, keccak256(DESK_REVEAL_ENCODED, DESK_REVEAL_ENCODED_BYTES))
                mstore(hashes, add(next, 0x20))
                at := add(at, REPLICA_BYTES)
            }
        }
        if (full != 0) revert IMarket.Market_PackedTooManyFor(batch.revealers[full / 0x20 - 1].party);
    }

    /// @notice Lists the order where requesters sign once.
    function listOrder(Batch memory batch) internal pure {
        bool full;
        assembly ("memory-safe") {
            let hashes := add(add(mload(BATCH_PAYERS), 0x20), shl(5, mload(DESK_PAYER)))
            hashes := mload(add(mload(hashes), SIGNED_HASHES))
            let next := mload(hashes)
            full := iszero(lt(next, mload(add(hashes, 0x20))))
            if iszero(full) {
                mstore(next, mload(DESK_ORDER_HASH))
                mstore(hashes, add(next, 0x20))
            }
        }
        if (full) revert IMarket.Market_PackedTooManyFor(batch.payers[Raw.load(DESK_PAYER)].party);
    }

    /// @notice The receipt is good: completes its record, and goes on to the next one.
    /// @dev The lists have room for all receipts and replicas of the header, which go down here as there.
    function conclude() internal pure {
        assembly ("memory-safe") {
            let count := mload(DESK_REPLICAS)
            let list_ := mload(BATCH_RECORDS)
            let at := mload(list_)
            mcopy(at, DESK_RECORD, DESK_RECORD_BYTES)
            at := add(add(at, DESK_RECORD_BYTES), shl(5, count))
            mstore(at, mload(DESK_RECORD_FEE))
            mstore(list_, add(at, 0x20))
            // The job and a claim for each replica are there.
            list_ := mload(BATCH_CLAIMS)
            mstore(list_, add(mload(list_), shl(5, add(count, 1))))
            mstore(BATCH_JOBS, add(mload(BATCH_JOBS), 1))

            mstore(READER_POSITION, add(mload(READER_POSITION), mload(READER_PLAIN_BYTES)))
            mstore(READER_RECEIPTS, sub(mload(READER_RECEIPTS), 1))
            mstore(READER_REPLICAS, sub(mload(READER_REPLICAS), count))
        }
    }

    /// @dev Reads the order, whose other members its terms and seed wrote, and makes its hash and the job's id.
    function _identify() private view returns (bool plain) {
        assembly ("memory-safe") {
            let at := mload(READER_POSITION)
            let head := calldataload(at)
            let expiry := and(shr(136, head), 0xffffffffffffffff)
            // As many replicas as the order wants, all with one tag; not expired, nor too early; and all of it there.
            plain := eq(and(shr(208, head), 0xffff), mload(READER_PLAIN_HEAD))
            plain := and(plain, iszero(gt(sub(expiry, timestamp()), mload(READER_HORIZON))))
            plain := and(plain, iszero(gt(byte(4, head), mload(READER_REPLICAS))))
            plain := and(plain, iszero(gt(add(at, mload(READER_PLAIN_BYTES)), mload(READER_END))))
            if plain {
                mstore8(add(DESK_NONCE, 31), byte(6, head))
                mstore(DESK_EXPIRY, expiry)
                mstore(DESK_SPEC, calldataload(add(at, SPEC_AT)))
                mstore(DESK_R, calldataload(add(at, ORDER_R_AT)))
                mstore(DESK_VS, calldataload(add(at, ORDER_VS_AT)))
                let hash := keccak256(DESK_ORDER_ENCODED, DESK_ORDER_ENCODED_BYTES)
                mstore(DESK_ORDER_HASH, hash)
                mstore(DESK_SIGNED_HASH, hash)
                let job := keccak256(DESK_SIGNED, DESK_SIGNED_BYTES)
                mstore(mload(mload(BATCH_CLAIMS)), job)
                mstore(DESK_JOB, job)
                mstore(DESK_RECORD, job)
                mstore(DESK_RECORD_NONCE, mload(DESK_NONCE))
                mstore(DESK_VOTES, job)
                let tag := calldataload(add(at, TAG_AT))
                mstore(DESK_REVEAL_TAG, tag)
                mstore(add(DESK_VOTES, VOTE_TAG), tag)
            }
        }
    }

    /// @dev Commits every vote to the job, and all of them to what each reveal signs, as Judge.checkVotes; and claims the
    /// seats, as Judge.claim.
    function _commit() private pure returns (bool plain) {
        assembly ("memory-safe") {
            let at := add(add(mload(READER_POSITION), RECEIPT_BYTES), mload(READER_ORDER_SIGNATURE))
            let step := add(REPLICA_BYTES, mload(READER_REVEAL_SIGNATURE))
            let claim := mload(mload(BATCH_CLAIMS))
            let count := mload(DESK_REPLICAS)
            let common := or(shl(168, mload(DESK_SEED)), shl(192, count))
            let commitment := DESK_COMMITMENTS
            let doubt := 0
            let seen := 0 // one bit for each value that the places' last 8 bits have
            let least := 0 // the lowest ticket that still rises
            for { let end := add(commitment, shl(5, count)) } lt(commitment, end) {} {
                let head := calldataload(at)
                if iszero(lt(shr(240, head), mload(READER_OPERATORS))) {
                    doubt := 1
                    break
                }
                let entry := mload(add(mload(READER_ENTRIES), shl(5, shr(240, head))))
                mstore(add(DESK_VOTES, VOTE_OPERATOR), shr(96, shl(96, entry)))
                mstore(add(DESK_VOTES, VOTE_SALT), calldataload(add(at, SALT_AT)))
                at := add(at, step)
                claim := add(claim, 0x20)
                mstore(claim, or(or(entry, common), shl(160, byte(2, head))))
                entry := and(shr(200, head), 0xffffffff) // from here on the seconds
                mstore(add(DESK_VOTES, VOTE_SECS), entry)
                mstore(add(commitment, sub(DESK_TALLY_FIRST, DESK_COMMITMENTS)), entry)
                mstore(commitment, keccak256(DESK_VOTES, COMMITMENT_ENCODED_BYTES))
                commitment := add(commitment, 0x20)
                entry := and(shr(136, head), 0xffffffffffffffff) // from here on the rate
                doubt := or(doubt, gt(entry, mload(DESK_MAX_RATE)))
                entry := shl(byte(1, head), 1) // from here on the place's bit
                doubt := or(doubt, or(and(seen, entry), lt(byte(2, head), least)))
                seen := or(seen, entry)
                least := add(byte(2, head), 1)
            }
            plain := iszero(or(doubt, gt(least, add(mload(DESK_MAX_TICKET), 1))))
            mstore(DESK_COMMITS, keccak256(DESK_COMMITMENTS, shl(5, count)))
            mstore(DESK_TALLY, count)
        }
    }

    /// @dev What all are paid for: the lower median of their seconds, up to the order's.
    function _setPaid() private pure {
        uint256 secs;
        if (Raw.load(DESK_TALLY) == 3) {
            // As Tally.medianOfAll, for a quarter of the gas.
            assembly ("memory-safe") {
                let a := mload(DESK_TALLY_FIRST)
                let b := mload(add(DESK_TALLY_FIRST, 0x20))
                secs := mload(add(DESK_TALLY_FIRST, 0x40))
                let swap := mul(xor(a, b), gt(a, b))
                a := xor(a, swap) // the lower of both
                b := xor(b, swap)
                if lt(secs, a) { secs := a }
                if gt(secs, b) { secs := b }
            }
        } else {
            uint256[] memory votes;
            assembly ("memory-safe") {
                votes := DESK_TALLY
            }
            secs = Tally.medianOfAll(votes);
        }
        assembly ("memory-safe") {
            if gt(secs, mload(DESK_MAX_SECONDS)) { secs := mload(DESK_MAX_SECONDS) }
            mstore(DESK_PAID, secs)
            mstore(DESK_RECORD_VOTE, or(shl(32, shr(32, mload(DESK_REVEAL_TAG))), secs))
        }
    }
}
