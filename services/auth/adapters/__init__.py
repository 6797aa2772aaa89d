"""What auth keeps and reaches: Postgres, Valkey, Argon2, signing keys."""
