"""The provider daemon: runs strangers' jobs in a sandbox and reports what they returned."""
