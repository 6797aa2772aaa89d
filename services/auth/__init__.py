"""Who somebody is: users, organizations, memberships, passwords and tokens."""
