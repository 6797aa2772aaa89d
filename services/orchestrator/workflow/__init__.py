"""The steps from a customer's message to the stored answer, one idea a module."""
