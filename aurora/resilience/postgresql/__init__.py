"""Django's PostgreSQL engine, asking `aurora.resilience.availability` before it connects and telling it what it meets."""
