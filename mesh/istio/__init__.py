"""The same policy for a cluster with Istio: manifests written from the contracts, to be built with kustomize.

`security.py` says who may call whom, `traffic.py` how calls travel, `network.py` what the pods' network lets through;
`control_plane.py` what Istio itself must be told; `layout.py` says which file holds what. `base`, `services`,
`components`, `overlays` and `control-plane` beside them are written by `python -m mesh.policy.generate`.
"""
