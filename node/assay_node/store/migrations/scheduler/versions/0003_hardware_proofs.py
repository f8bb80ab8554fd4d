"""What schedulers found out about providers' hardware, with their signatures."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "hardware_proofs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("operator", sa.String(42), nullable=False),
        sa.Column("verifier", sa.String(42), nullable=False),
        sa.Column("round", sa.String(66), nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("operator", "verifier", "round"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("hardware_proofs")
