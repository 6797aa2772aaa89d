"""Access rules: read once from the protos, enforced in every service and rendered for Envoy."""
