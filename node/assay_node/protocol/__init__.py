"""Pure wire protocol: identifiers, messages, typed data and transition tables. No I/O, no clock."""
