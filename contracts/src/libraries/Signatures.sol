// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev The largest s of the lower half of the curve's order (EIP-2).
uint256 constant S_MAX = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

/// @notice Who signed a digest: plain ECDSA, one form of each signature.
/// @dev Inside, a signature is in the compact form of EIP-2098: r, and s with the parity of v on top.
library Signatures {
    uint256 private constant BYTES = 65;
    uint256 private constant PARITY_BIT = 255;

    /// @notice The compact form of r (32) | s (32) | v (27 or 28); zeros, which nobody signs, for any other form.
    function compact(bytes calldata signature) internal pure returns (bytes32 r, bytes32 vs) {
        if (signature.length != BYTES) return (0, 0);
        uint256 v = uint8(signature[BYTES - 1]);
        uint256 s = uint256(bytes32(signature[32:64]));
        if ((v != 27 && v != 28) || s > S_MAX) return (0, 0);
        return (bytes32(signature[:32]), bytes32(v - 27 << PARITY_BIT | s));
    }

    /// @notice The address whose key signed; zero where there is none.
    function recover(uint256 digest, uint256 r, uint256 vs) internal view returns (address signer) {
        uint256 s = vs << 1 >> 1;
        if (s > S_MAX) return address(0);
        // The precompile 1 of every EVM: it returns nothing where there is no signer. ECDSA.tryRecover does the
        // same for 300 gas more.
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore(input, digest)
            mstore(add(input, 0x20), add(27, shr(PARITY_BIT, vs)))
            mstore(add(input, 0x40), r)
            mstore(add(input, 0x60), s)
            pop(staticcall(gas(), 1, input, 0x80, 0, 0x20))
            signer := mul(mload(0), eq(returndatasize(), 0x20))
        }
    }
}
