"""What every service shares; see README.md in this folder."""
