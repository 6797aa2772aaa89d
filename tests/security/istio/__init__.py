"""What Istio would answer: its documented semantics, over manifests, for the parts of them that Deskmesh uses.

External authorization (`CUSTOM`) comes first, as Istio's filters stand, and is asked of a provider in the mesh's own
settings, through the proxy of the workload that answers. PeerAuthentication decides whether a connection without mutual
TLS is taken, RequestAuthentication whether a token holds, AuthorizationPolicy whether the request is allowed. Whatever
the evaluator does not know raises Unknown, so that no policy can say something that is quietly left out.

`rules.py` and `gateway.py` read the resources, `mesh.py` judges.
"""

from tests.security.istio.mesh import Mesh
from tests.security.istio.request import ALLOWED, REMOVE, Answer, Checked, Request, Workload
from tests.security.istio.rules import Unknown

__all__ = ["ALLOWED", "REMOVE", "Answer", "Checked", "Mesh", "Request", "Unknown", "Workload"]
