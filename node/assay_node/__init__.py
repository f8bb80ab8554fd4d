"""The Assay peer: everything that every role (requester, provider, scheduler) needs."""
