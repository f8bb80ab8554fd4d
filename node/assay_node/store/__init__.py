"""Durable state: SQLite or PostgreSQL behind repositories. Only this package knows SQLAlchemy."""
