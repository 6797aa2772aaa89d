"""The same policy for a cluster with Istio: manifests written from the contracts, to be built with kustomize.

`security.py` says who may call whom, `traffic.py` and `door.py` how calls travel, `network.py` what the pods' network
lets through, `deployed.py` what runs in the pods and `pods.py` how, `migrate.py` what goes before them,
`control_plane.py` what Istio itself must be told; `layout.py` says which file holds what. The folders beside them are
written by `python -m mesh.policy.generate`.
"""
