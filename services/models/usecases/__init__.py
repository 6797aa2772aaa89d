"""What is done with models: one module a noun."""
