"""Ray Serve deployments: thin shells around servicers, engines and the replica's gRPC server."""
