"""The `deskmesh` command."""
