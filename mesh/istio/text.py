"""Manifests as YAML that people can read."""

from collections.abc import Iterable

import yaml

from mesh.istio.plan import Document


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: object) -> bool:
        return True


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # A document in a document, such as Serve's configuration.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)


def as_text(documents: Iterable[Document]) -> str:
    """One after the other, what is a text of several lines as such."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120)
