"""PostgreSQL and Redis from wheels, and the process group of `make run`. Local installations and tests only."""
