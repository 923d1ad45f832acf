"""What `multitenant doctor` looks at: `table.py` lists the checks, each of them one function."""
