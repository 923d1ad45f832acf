"""Transactions across the databases of one cluster."""

from multitenant.repositories.transactions import may_be_committed, run_transaction

__all__ = ["may_be_committed", "run_transaction"]
