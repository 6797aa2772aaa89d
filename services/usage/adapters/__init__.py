"""Postgres and Valkey, as the ports ask for them."""
