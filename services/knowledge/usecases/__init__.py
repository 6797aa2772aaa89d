"""What the service does, one file a noun."""
