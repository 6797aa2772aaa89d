"""Mutual TLS from certificate files that are replaced while the process runs."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc

logger = logging.getLogger(__name__)

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Material:
    """Key, certificate chain and trusted authority, all in PEM."""

    key: bytes
    certificate: bytes
    authority: bytes


class Named(Protocol):
    """Settings that name the three files."""

    @property
    def tls_cert_file(self) -> Path: ...

    @property
    def tls_key_file(self) -> Path: ...

    @property
    def tls_ca_file(self) -> Path: ...


class CertificateFiles:
    """The three files of a workload's identity, and whether they changed since somebody last looked."""

    def __init__(self, settings: Named) -> None:
        self._key = settings.tls_key_file
        self._certificate = settings.tls_cert_file
        self._authority = settings.tls_ca_file

    def signature(self) -> Signature:
        """Changes whenever one of the files is replaced; also when only a link on the way to it is."""
        return tuple(_file_signature(path) for path in (self._key, self._certificate, self._authority))

    def read(self) -> Material:
        """The files' content. Raises OSError."""
        return Material(self._key.read_bytes(), self._certificate.read_bytes(), self._authority.read_bytes())


def _file_signature(path: Path) -> tuple[str, int, int]:
    real = os.path.realpath(path)
    stat = os.stat(real)
    return real, stat.st_mtime_ns, stat.st_ino


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Credentials that demand a client certificate and take up replaced files at the next handshake."""
    seen = files.signature()
    first = _configuration(files.read())

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        try:
            now = files.signature()
            if now == seen:
                return None
            configuration = _configuration(files.read())
        except OSError:
            # Half-replaced files: the certificate in use holds until the next handshake looks again.
            logger.warning("certificate files cannot be read", exc_info=True)
            return None
        seen = now
        logger.info("certificate replaced")
        return configuration

    # None means "nothing new", which the stubs of gRPC do not know.
    return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=True)  # type: ignore[arg-type]


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.authority
    )


def channel_credentials(material: Material) -> grpc.ChannelCredentials:
    """A client's side of mutual TLS."""
    return grpc.ssl_channel_credentials(
        root_certificates=material.authority,
        private_key=material.key,
        certificate_chain=material.certificate,
    )
