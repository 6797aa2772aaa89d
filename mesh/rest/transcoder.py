"""Envoy's transcoder, set up the same wherever an Envoy stands: which services it knows, and what it refuses."""

from collections.abc import Iterable

from google.protobuf.descriptor import ServiceDescriptor

from mesh.rest.paths import bindings

NAME = "envoy.filters.http.grpc_json_transcoder"
KIND = "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"


def transcoder(
    descriptors: str, services: Iterable[str], *, max_request_bytes: int, max_response_bytes: int
) -> dict[str, object]:
    """The filter's configuration. `descriptors` is the file of the contracts, as `descriptor_set` writes them."""
    return {
        "@type": KIND,
        "proto_descriptor": descriptors,
        "services": sorted(services),
        "convert_grpc_status": True,
        "url_unescape_spec": "ALL_CHARACTERS_EXCEPT_RESERVED",
        "max_request_body_size": max_request_bytes,
        "max_response_body_size": max_response_bytes,
        "print_options": {
            "preserve_proto_field_names": True,
            "always_print_primitive_fields": True,
            "stream_newline_delimited": True,
        },
        "request_validation_options": {
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
    }


def with_paths(services: Iterable[ServiceDescriptor]) -> list[str]:
    """The full names of the services of which any RPC has a path."""
    return sorted(one.full_name for one in services if any(bindings(method) for method in one.methods))
