"""What is done with usage: one module a noun."""
