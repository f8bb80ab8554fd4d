"""Pure matching: `decide(snapshot, now, seed) -> Plan`, the same on every machine."""
