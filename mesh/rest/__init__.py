"""REST over the same RPCs: paths from the protos' `google.api.http` options, for Envoy's transcoder and for readers."""
