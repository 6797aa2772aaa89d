"""What the routers remember of the registry, and that it outlives Ray's head."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from serve_apps.assistant.control import ControlBoard, ControlFile, RegistryState
from tests.integration.serve_apps.conftest import MemoryStore

STATES = st.builds(
    RegistryState,
    st.frozensets(st.text(min_size=1, max_size=8), max_size=4),
    st.floats(min_value=1, max_value=2e9),
)


@given(st.lists(STATES, min_size=1, max_size=10))
def test_the_newest_state_holds_in_whatever_order_they_come(states: list[RegistryState]) -> None:
    board = ControlBoard(MemoryStore())
    for state in states:
        board.tell(state)
    assert board.registry().as_of == max(state.as_of for state in states)
    assert board.registry() in states


def test_before_the_first_word_everything_is_enabled() -> None:
    assert ControlBoard(MemoryStore()).registry() == RegistryState(frozenset(), 0.0)


def test_the_last_state_outlives_the_store(tmp_path: Path) -> None:
    file = tmp_path / "control.json"
    store, state = MemoryStore(), RegistryState(frozenset({"small"}), 5.0)
    ControlBoard(store).tell(state)
    ControlFile(file, store).save()
    fresh = MemoryStore()
    ControlFile(file, fresh).restore()
    assert ControlBoard(fresh).registry() == state


def test_without_a_file_or_with_a_damaged_one_nothing_is_known(tmp_path: Path) -> None:
    file = tmp_path / "control.json"
    store = MemoryStore()
    ControlFile(file, store).restore()
    file.write_text("{half")
    ControlFile(file, store).restore()
    assert store.read_all() == {}


def test_the_file_is_written_only_when_something_changed(tmp_path: Path) -> None:
    file = tmp_path / "control.json"
    store = MemoryStore()
    copy = ControlFile(file, store)
    ControlBoard(store).tell(RegistryState(frozenset(), 1.0))
    copy.save()
    file.unlink()
    copy.save()
    assert not file.exists()
