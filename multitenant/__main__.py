"""`python -m multitenant` is the `multitenant` command."""

from multitenant.cli import main

main()
