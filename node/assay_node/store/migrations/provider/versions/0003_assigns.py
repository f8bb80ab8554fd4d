"""Assignments that leases were taken with, and what shows that a scheduler contradicted itself."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "provider_assigns",
        sa.Column(
            "job",
            sa.String(64),
            sa.ForeignKey(
                "provider_leases.job", name="fk_provider_assigns_job", ondelete="CASCADE"
            ),
            nullable=False,
        ),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("job", "sequence", name="pk_provider_assigns"),
    )
    op.create_table(
        "provider_evidence",
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("scheduler", sa.String(42), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("job", name="pk_provider_evidence"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("provider_evidence")
    op.drop_table("provider_assigns")
