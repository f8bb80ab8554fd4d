"""Runs strangers' jobs in a sandbox; the seam is `assay_provider.runtime.sandbox.Sandbox`."""
