"""Envoy on a machine without a mesh: the edge, and the sidecar in front of Ray Serve.

`topology.py` says what there is, `methods.py` reads each RPC's policy from the contracts, and the
templates beside them say it in Envoy's words.
"""
