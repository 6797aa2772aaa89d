"""A background task ends when it is told to, also if it overhears being told once."""

import asyncio

import pytest

from services.common import background


async def test_a_task_that_takes_a_cancellation_for_a_failure_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "INSIST_SECONDS", 0.01)
    began, overheard = asyncio.Event(), 0

    async def stubborn() -> None:
        nonlocal overheard
        while True:
            try:
                began.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                overheard += 1
                if overheard == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await began.wait()
    async with asyncio.timeout(5):
        await background.end(task)
    assert task.cancelled()
    assert overheard == 3


async def test_how_a_task_failed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise RuntimeError("why")

    task = asyncio.create_task(broken(), name="broken-task")
    await asyncio.wait({task})
    await background.end(task)
    assert "why" in caplog.text
