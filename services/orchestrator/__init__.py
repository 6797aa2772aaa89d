"""Answers customers: one turn a message, from what the help centre says."""
