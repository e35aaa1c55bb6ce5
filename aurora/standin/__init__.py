"""Reading while PostgreSQL is away: the stores that stand in for it, and who chooses among them. Nothing is ever written to one by a caller."""
