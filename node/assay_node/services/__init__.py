"""What a scheduler and a requester do: load, decide with pure code, apply. Ports in, ports out."""
