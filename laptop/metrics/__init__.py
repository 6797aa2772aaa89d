"""Prometheus metrics of a whole stack in one place: gathered from every process by the supervisor.

`exposition` merges what the processes say, `scrape` asks them, `stores` speaks for Postgres and Valkey, which have no
metrics of their own, `processes` for what the supervisor sees from outside, and `server` answers for all of them.
"""
