"""`assay provider gpus`: what GPUs this machine has, which are offered, and why the rest is not."""

from assay_node.cli import output
from assay_node.cli.output import JsonOption


def gpus(as_json: JsonOption = False) -> None:
    """Show this machine's GPUs: temperature, power, the slot that owns each, or why none does.

    Nothing is changed, and a running daemon is not disturbed. provider.gpus chooses which are
    offered; drivers and container toolkits with known holes are not, whatever it says.
    """
    from assay_provider.gpus.opening import shown_gpus
    from assay_provider.gpus.report import gpus_document, gpus_lines

    document = gpus_document(shown_gpus(output.settings().provider))
    if as_json:
        output.print_json(document)
        return
    for line in gpus_lines(document):
        output.results().print(line, markup=False)
