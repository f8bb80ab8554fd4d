"""What became of a job, as lines for a person."""

from typing import Any

from assay_node.protocol.units import microusd_to_text


def summary_lines(document: dict[str, Any]) -> list[str]:
    """Return what became of a job: who ran it, who was paid or slashed, what it cost."""
    lines = [f"{document['name']} {document['job']}: {document['state']}"]
    if document["reason"]:
        lines.append(f"  why: {document['reason']}")
    settlement = document["settlement"] or {"paid": [], "slashed": []}
    paid = {p["operator"]: p["microusd"] for p in settlement["paid"]}
    slashed = {s["operator"]: s for s in settlement["slashed"]}
    lines += [f"  {_replica_line(r, paid, slashed)}" for r in document["replica_records"]]
    if "cost_microusd" in settlement:
        left = document["max_cost_microusd"] - settlement["cost_microusd"]
        lines.append(
            f"  cost {microusd_to_text(settlement['cost_microusd'])} (fee "
            f"{microusd_to_text(settlement['fee_microusd'])}), "
            f"{microusd_to_text(left)} of the most it could cost stays yours; gas "
            f"{settlement['gas']:,}, one of {settlement['receipts_in_batch']} in its transaction"
        )
    if document["output"]:
        lines.append(f"  output {document['output']} ({document['verdict']})")
    return lines


def _replica_line(
    replica: dict[str, Any], paid: dict[str, int], slashed: dict[str, dict[str, Any]]
) -> str:
    operator = replica["operator"]
    line = f"{operator} (ticket {replica['ticket']}): "
    if operator in paid:
        line += f"ran {replica['seconds']} s, paid {microusd_to_text(paid[operator])}"
    elif operator in slashed:
        loss = slashed[operator]
        line += f"slashed {microusd_to_text(loss['microusd'])} ({loss['reason']})"
    else:
        line += replica["stage"] + (f": {replica['reason']}" if replica["reason"] else "")
    return line
