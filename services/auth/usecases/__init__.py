"""What people and services may ask of auth."""
