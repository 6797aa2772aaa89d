"""Where the orchestrator meets the database and the other services."""
