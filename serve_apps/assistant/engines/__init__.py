"""Engines: what turns a prompt into tokens. All have the interface in `base.py`."""
