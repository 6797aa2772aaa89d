"""The deployables of Deskmesh and what they share."""
