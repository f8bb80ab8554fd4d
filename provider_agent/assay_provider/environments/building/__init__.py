"""`assay env build`: makes environments out of requirements, folders and images.

This side reads what its own user chose to build from; nothing here handles what peers send.
"""
