"""What the door asks before it lets a program in: whether its API key is good, and for what."""
