"""Here `stack` is the whole running stack, and `replica` one of a simulated engine."""

import pytest

from tests.integration.serve_apps.conftest import replica
from tests.support.stack import Stack

__all__ = ["replica"]


@pytest.fixture(scope="session")
def stack(whole_stack: Stack) -> Stack:
    return whole_stack
