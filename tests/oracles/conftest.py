"""What tests of served Oracles share."""

import pytest

from orl_jax.oracles.served import ServedOracle, Settings


@pytest.fixture
def oracle(request):
    """Makes a served Oracle with the SETTINGS of the test's module; it is closed after the test."""
    made = []

    def oracle(address, **changes):
        made.append(ServedOracle(Settings(address, **request.module.SETTINGS | changes)))
        return made[-1]

    yield oracle
    for each in made:
        each.close()
