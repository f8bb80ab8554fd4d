"""`python -m assay_node` is the `assay` command."""

from assay_node.cli import main

if __name__ == "__main__":
    main()
