// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice One party's part in a settled job, in one word: party (160) | amount (64) | kind (8) | place (24).
/// @dev One word rather than a struct of four: a batch hands hundreds of them from Market to Vault. The place says
/// which of a batch's distinct operators it is, so that the Vault can add up; elsewhere it means nothing.
type Share is uint256;

/// @notice Why money moves.
enum ShareKind {
    /// In the quorum: paid, and a win.
    Won,
    /// No quorum formed: paid for its effort.
    Effort,
    /// A quorum contradicted it, or it was silent where it had promised to speak: slashed, and a fault.
    Slashed,
    /// The scheduler's fee.
    Fee,
    /// A panel found it right after all: what it had lost comes back, and the fault is struck out.
    Returned
}

using {operatorOf, amountOf, kindOf} for Share global;

function toShare(address operator, uint64 amount, ShareKind kind) pure returns (Share) {
    return Share.wrap(uint256(uint160(operator)) | uint256(amount) << 160 | uint256(kind) << 224);
}

function operatorOf(Share share) pure returns (address) {
    // The low 160 bits are the operator.
    // forge-lint: disable-next-line(unsafe-typecast)
    return address(uint160(Share.unwrap(share)));
}

function amountOf(Share share) pure returns (uint64) {
    // Truncation is the extraction.
    // forge-lint: disable-next-line(unsafe-typecast)
    return uint64(Share.unwrap(share) >> 160);
}

function kindOf(Share share) pure returns (ShareKind) {
    return ShareKind(Share.unwrap(share) >> 224 & type(uint8).max);
}
