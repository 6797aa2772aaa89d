"""Postgres, Redis and the models' tokenizers, as the ports ask for them."""
