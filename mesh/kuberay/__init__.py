"""The inference plane on Kubernetes: a RayService for each target that can run there, written from its file.

`nodes.py` says which machines a target needs, `pods.py` how a pod runs Ray, `door.py` where callers come in,
`service.py` what Ray Serve is told and how it is replaced, `network.py` who may reach it. `targets/` is written by
`python -m mesh.kuberay.generate`.
"""
