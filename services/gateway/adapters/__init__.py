"""What the gateway reaches: auth, and Valkey."""
