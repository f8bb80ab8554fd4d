"""Measures this machine for its offer: what it sustains, not what it reaches for a moment.

`running` starts a child process for each device (`__main__`), so that neither a crash of a driver
nor a full memory reaches anybody else. In the child `measuring` takes one device (`torch_device`,
`numpy_device`) through `sampling` and `filling`, and the disk through `disk`. `record` keeps the
result in the provider's home, where its daemon finds it.

There is no figure for the network: the way to oneself is no measure of it, and the one to a
scheduler measures the scheduler. The offer says 0, which means that it was not measured.
"""
