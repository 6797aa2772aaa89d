"""Tasks that run beside the calls of a process."""

import asyncio
import logging

logger = logging.getLogger(__name__)

INSIST_SECONDS = 0.5


async def end(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it has ended.

    Asking once is not enough: a database driver that is cancelled in the middle of a statement may fail with an error
    of its own instead, and a loop that tries again after errors then goes on.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=INSIST_SECONDS)
    if not task.cancelled() and (error := task.exception()):
        logger.error("a background task had failed", extra={"task": task.get_name()}, exc_info=error)
