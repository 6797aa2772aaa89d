"""Postgres and the neighbouring services, as the ports ask for them."""
