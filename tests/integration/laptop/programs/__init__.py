"""Small programs the supervisor is tested with; they stand in for nothing but any program."""
