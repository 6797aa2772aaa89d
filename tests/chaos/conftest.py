"""Here `stack` is the whole running stack."""

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="session")
def stack(whole_stack: Stack) -> Stack:
    return whole_stack
