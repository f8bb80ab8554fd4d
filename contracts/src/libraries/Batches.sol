// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {Records} from "./Records.sol";
import {Words, newWords} from "./Words.sol";

// Where in memory these members of a batch in the packed form are, and from the start of a Signed its hashes.
uint256 constant BATCH_JOBS = 0x17a0;
uint256 constant BATCH_RECORDS = 0x17c0;
uint256 constant BATCH_CLAIMS = 0x17e0;
uint256 constant BATCH_KEYS = 0x1800;
uint256 constant BATCH_NEWEST_KEYS = 0x1860;
uint256 constant BATCH_PAYERS = 0x1880;
uint256 constant BATCH_REVEALERS = 0x18a0;
uint256 constant SIGNED_HASHES = 0x60;

/// @notice The receipts of one transaction while they are judged.
struct Batch {
    /// How many jobs are good so far, and what each does to the books (`Records`).
    uint256 jobs;
    Words records;
    /// What Providers has to confirm: jobs and claims (`IProviders.checkBatch`), keys, and seeds. A key is an operator and
    /// who signed for it; nobody where nothing was signed.
    Words claims;
    Words keys;
    Words seeds;
    /// The distinct operators, each with its place above 232 bits; and for each the last key that signed for it, with
    /// that one's place in `keys` above 160 bits.
    Words operators;
    Words newestKeys;
    /// Who signs once for the whole batch, if anybody.
    Signed[] payers;
    Signed[] revealers;
    /// How many receipts there are, good or bad.
    uint256 receipts;
    /// Made when the first job concerns Court. For each such job: what its commitments hash to; and its bond, its chance of an audit, and its
    /// place among the jobs, in one word.
    Words referrals;
    /// The current one of them, and how many were kept when jobs were dropped.
    uint256 referral;
    uint256 keptReferrals;
    /// For each job why it is not good after all; empty as long as all are.
    bytes4[] reasons;
}

/// @notice Somebody's one signature over a list of struct hashes.
struct Signed {
    address party;
    uint256 r;
    uint256 vs;
    Words hashes;
}

/// @notice Making and filling batches.
library Batches {
    uint256 private constant PARTY_BITS = 160;
    uint256 private constant REFERRAL_WORDS = 2;
    /// @dev Of the bond (64 bits) and the chance of an audit (16), after which comes the place.
    uint256 private constant TERMS_BITS = 80;
    uint256 private constant TERMS_MASK = 2 ** TERMS_BITS - 1;

    /// @notice Makes room for all of these.
    function create(Batch memory batch, uint256 receipts, uint256 replicas, uint256 operators, uint256 seeds)
        internal
        pure
    {
        unchecked {
            batch.receipts = receipts;
            batch.operators = newWords(operators);
            batch.newestKeys = newWords(operators);
            // Few operators change their keys within a batch.
            batch.keys = newWords(2 * operators);
            batch.seeds = newWords(2 * seeds);
            // Beside its replicas a job has a head and its fee, or its id. Keys and seeds follow the claims in the end.
            batch.records = newWords(replicas + (Records.HEAD_WORDS + 1) * receipts);
            batch.claims = newWords(receipts + replicas + 2 * operators + 2 * seeds);
        }
    }

    /// @notice Whether somebody signs once for the whole batch, for its bad receipts too.
    function signsOnce(Batch memory batch) internal pure returns (bool) {
        unchecked {
            return batch.payers.length + batch.revealers.length != 0;
        }
    }

    /// @notice The place of an operator, which is a new one if it has none.
    /// @dev A search from the start: forms for large batches bring the operators in a table.
    function placeOf(Batch memory batch, address operator) internal pure returns (uint256 place) {
        uint256 count = batch.operators.count();
        for (place = 0; place < count; ++place) {
            // Truncation is the extraction.
            // forge-lint: disable-next-line(unsafe-typecast)
            if (address(uint160(batch.operators.get(place))) == operator) return place;
        }
        add(batch, uint160(operator));
    }

    /// @notice Adds an operator, at the next place, and room for its key.
    function add(Batch memory batch, uint256 operator) internal pure {
        uint256 place = batch.operators.count();
        batch.operators.push(operator | place << Records.PLACE_SHIFT);
        batch.newestKeys.push(batch.keys.count() / 2 << PARTY_BITS);
        batch.keys.push(operator);
        batch.keys.push(0);
    }

    /// @notice The place of a seed. Receipts that follow each other share it.
    function seedOf(Batch memory batch, uint256 hardwareClass, uint256 seedBlock)
        internal
        pure
        returns (uint256 place)
    {
        Words seeds = batch.seeds;
        uint256 words = seeds.count();
        if (words != 0 && seeds.get(words - 2) == hardwareClass && seeds.get(words - 1) == seedBlock) {
            return words / 2 - 1;
        }
        seeds.push(hardwareClass);
        seeds.push(seedBlock);
        return words / 2;
    }

    /// @notice The place of an operator's key, which is a new one unless it is the first or the last that signed.
    /// @param signer Not zero.
    function keyOf(Batch memory batch, uint256 operatorPlace, uint256 operator, address signer)
        internal
        pure
        returns (uint256 place)
    {
        uint256 newest = batch.newestKeys.get(operatorPlace);
        // Truncation is the extraction.
        // forge-lint: disable-next-line(unsafe-typecast)
        address last = address(uint160(newest));
        if (last == signer) return newest >> PARTY_BITS;
        if (last == address(0)) {
            place = newest >> PARTY_BITS;
            setSigner(batch, place, signer);
        } else {
            place = batch.keys.count() >> 1;
            if (batch.keys.isFull()) batch.keys = batch.keys.grown(batch.keys.count());
            batch.keys.push(operator);
            batch.keys.push(uint160(signer));
        }
        batch.newestKeys.set(operatorPlace, place << PARTY_BITS | uint160(signer));
    }

    /// @notice Who signed as this key.
    function setSigner(Batch memory batch, uint256 key, address signer) internal pure {
        batch.keys.set(2 * key + 1, uint160(signer));
    }

    /// @notice Adds a struct hash to what somebody signs once.
    function list(Signed memory signed, uint256 hash) internal pure {
        if (signed.hashes.isFull()) revert IMarket.Market_PackedTooManyFor(signed.party);
        signed.hashes.push(hash);
    }

    /// @notice The job that is about to be added concerns Court.
    function refer(Batch memory batch, uint256 commits, uint256 bond, uint256 auditBps) internal pure {
        unchecked {
            if (Words.unwrap(batch.referrals) == 0) {
                batch.referrals = newWords(REFERRAL_WORDS * batch.receipts);
            }
            batch.referrals.push(commits);
            batch.referrals.push(bond | auditBps << 64 | batch.jobs << TERMS_BITS);
        }
    }

    /// @notice Whether the current referral is there and of the job at this place.
    function refers(Batch memory batch, uint256 job) internal pure returns (bool) {
        unchecked {
            if (Words.unwrap(batch.referrals) == 0) return false;
            uint256 word = REFERRAL_WORDS * batch.referral + 1;
            return word < batch.referrals.count() && batch.referrals.get(word) >> TERMS_BITS == job;
        }
    }

    /// @return commits What the job's commitments hash to.
    /// @return terms Bond (64 bits) | chance of an audit (16) | place of the job.
    function currentReferral(Batch memory batch) internal pure returns (uint256 commits, uint256 terms) {
        unchecked {
            uint256 word = REFERRAL_WORDS * batch.referral;
            return (batch.referrals.get(word), batch.referrals.get(word + 1));
        }
    }

    /// @notice Moves the current referral behind those that were kept, for a job that has moved there too.
    function keepReferral(Batch memory batch, uint256 job) internal pure {
        unchecked {
            (uint256 commits, uint256 terms) = currentReferral(batch);
            uint256 word = REFERRAL_WORDS * batch.keptReferrals++;
            batch.referrals.set(word, commits);
            batch.referrals.set(word + 1, terms & TERMS_MASK | job << TERMS_BITS);
        }
    }

    /// @notice Only those that were kept stay, and the first of them is the current one.
    function cutReferrals(Batch memory batch) internal pure {
        if (Words.unwrap(batch.referrals) == 0) return;
        batch.referrals.rewind(REFERRAL_WORDS * batch.keptReferrals);
        batch.referral = 0;
    }

    /// @notice The job at this place is not good after all; the first reason stays.
    function fail(Batch memory batch, uint256 job, bytes4 reason) internal pure {
        if (batch.reasons.length == 0) batch.reasons = new bytes4[](batch.jobs);
        if (batch.reasons[job] == 0) batch.reasons[job] = reason;
    }
}
