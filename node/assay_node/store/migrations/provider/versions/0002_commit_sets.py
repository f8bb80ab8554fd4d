"""Signed commit sets are kept whole: with one, a provider can take its job to the chain alone."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the set beside its hash."""
    op.add_column("provider_signed_sets", sa.Column("commit_set", sa.LargeBinary()))
