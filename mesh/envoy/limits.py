"""Where Envoy finds in a token that held whom to count a call for."""

from mesh.policy.limits import ORGANIZATION, PERSON

# A claim, by what is counted.
CLAIMS = {PERSON: "sub", ORGANIZATION: "org"}
