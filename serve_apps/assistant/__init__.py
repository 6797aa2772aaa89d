"""The Ray Serve application: a router, language models and an embedder, each replica with its own gRPC server."""
