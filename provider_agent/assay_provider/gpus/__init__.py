"""GPUs of this machine: found, judged, given to one tenant at a time, cleared between tenants.

Reading order: `driver` (the seam), `finding` (what is offered and why the rest is not), `slot_gpus`
(who is on which), `granting` (nodes and files a job gets), `clearing` (memory between tenants).
"""
