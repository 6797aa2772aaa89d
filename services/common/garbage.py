"""How a process that serves treats Python's garbage collector."""

import gc


def settle_garbage_collector() -> None:
    """Leave what the start has made out of later collections, and collect seldom: calls make few reference cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
