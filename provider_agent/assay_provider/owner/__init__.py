"""What the owner of the machine decides: when jobs are let in, whose, and when to stop."""
