"""gRPC servicers beside that of the models."""
