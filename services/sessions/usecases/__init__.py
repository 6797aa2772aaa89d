"""What can be done with conversations, by noun."""
