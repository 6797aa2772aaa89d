"""Where tokens are kept."""

import asyncio
import stat
import time
from pathlib import Path

from deskmesh_client.session import FileSession, Tokens


def tokens(lifetime: float = 600) -> Tokens:
    return Tokens("access", time.time() + lifetime, "refresh")


def test_a_file_session_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "session.json"
    FileSession(path).save(tokens())
    assert FileSession(path).load() is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    FileSession(path).save(None)
    assert FileSession(path).load() is None


def test_a_damaged_file_means_no_session(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    for text in ("", "{", '{"other": 1}', "[]"):
        path.write_text(text)
        assert FileSession(path).load() is None


def test_a_token_near_its_end_is_not_fresh() -> None:
    assert tokens().fresh()
    assert not tokens(lifetime=5).fresh()


async def test_only_one_renews_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    inside = 0

    async def renew() -> None:
        nonlocal inside
        async with FileSession(path).exclusive():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(renew() for _ in range(8)))
