"""What is in a database: reading it as of one moment, writing, following and comparing it."""
