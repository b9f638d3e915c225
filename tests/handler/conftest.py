"""What tests of the SDK share."""

from collections.abc import Iterator

import pytest
from sdks import Bodies, open_bodies


@pytest.fixture
def bodies() -> Iterator[Bodies]:
    """A server of bodies."""
    with open_bodies() as bodies:
        yield bodies
