"""Conversations, their messages and the live stream of their events."""
