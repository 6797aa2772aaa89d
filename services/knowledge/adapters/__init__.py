"""Postgres and the embedder."""
