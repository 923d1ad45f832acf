"""Numbered migrations."""

import pytest

from multitenant.tenancy.migrations import ADMIN_MIGRATIONS, TENANT_MIGRATIONS, Migration


@pytest.mark.parametrize("ours", [*ADMIN_MIGRATIONS, *TENANT_MIGRATIONS], ids=lambda it: it.name)
def test_every_migration_of_ours_goes_up_and_down(ours: Migration) -> None:
    has_up = hasattr(ours.module, "up")
    assert has_up != bool(ours.creates)
    assert hasattr(ours.module, "down") or ours.creates
