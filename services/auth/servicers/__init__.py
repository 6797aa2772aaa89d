"""Auth's gRPC services, a file a noun."""
