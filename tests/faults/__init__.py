"""The promises, while things break."""

import pytest

pytest.register_assert_rewrite(
    "tests.faults.deployment", "tests.faults.recovery", "tests.faults.stories"
)
