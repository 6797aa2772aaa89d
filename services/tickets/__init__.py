"""Tickets: what an organization owes a customer an answer on, with comments and full history."""
