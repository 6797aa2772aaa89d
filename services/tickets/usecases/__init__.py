"""What people do with tickets: one module a noun."""
