"""Postgres, Valkey and the routers, as the ports ask for them."""
