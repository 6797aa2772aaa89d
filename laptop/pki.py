"""A local certificate authority that issues short-lived SPIFFE certificates and replaces them.

Each workload's folder holds `tls.crt`, `tls.key` and `ca.crt` as links through `current`, which
names a folder written in full beforehand. Renaming one link over `current` therefore replaces
certificate and key together, and the rename is also what Envoy's `watched_directory` waits for.
"""

import ipaddress
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME = timedelta(days=365)
CA_RENEWAL = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=1)
LINKS = ("tls.crt", "tls.key", "ca.crt")


@dataclass(frozen=True)
class Workload:
    """One identity. Its own name is a DNS name of it, by which gRPC clients check whom they reached; only what
    browsers and tools reach by other names has `dns_names` besides."""

    name: str
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Authority:
    """The CA's certificate and key, in memory."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class LocalPki:
    """The authority in `folder` and the certificates of its workloads."""

    def __init__(
        self,
        folder: Path,
        *,
        trust_domain: str,
        environment: str,
        lifetime: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._trust_domain = trust_domain
        self._environment = environment
        self._lifetime = lifetime
        self._clock = clock

    def spiffe_id(self, workload: str) -> str:
        """`spiffe://<trust domain>/ns/<environment>/sa/<workload>`."""
        return f"spiffe://{self._trust_domain}/ns/{self._environment}/sa/{workload}"

    def ensure(self, workloads: Sequence[Workload]) -> list[str]:
        """Issue what is missing or past half its life; returns the names issued anew."""
        authority, created = self._authority()
        due = [w for w in workloads if created or self._is_due(w.name)]
        for workload in due:
            self._install(workload, authority)
        return [workload.name for workload in due]

    def expires_at(self, workload: str) -> datetime | None:
        """When the workload's certificate ends, or None if there is none that can be read."""
        certificate = read_certificate(self._folder / workload / "tls.crt")
        return certificate.not_valid_after_utc if certificate else None

    def _is_due(self, workload: str) -> bool:
        certificate = read_certificate(self._folder / workload / "tls.crt")
        if certificate is None or not (self._folder / workload / "tls.key").exists():
            return True
        return self._clock() >= certificate.not_valid_after_utc - self._lifetime / 2

    def _authority(self) -> tuple[Authority, bool]:
        certificate_file, key_file = self._folder / "ca.crt", self._folder / "ca.key"
        certificate = read_certificate(certificate_file)
        key = _read_key(key_file)
        pair = certificate and key and certificate.public_key() == key.public_key()
        if certificate and key and pair and certificate.not_valid_after_utc - self._clock() > CA_RENEWAL:
            return Authority(certificate, key), False
        authority = self._new_authority()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(key_file, _key_pem(authority.key), mode=0o600)
        write_atomically(certificate_file, _certificate_pem(authority.certificate), mode=0o644)
        return authority, True

    def _new_authority(self) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Deskmesh local CA")])
        now = self._clock()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return Authority(certificate, key)

    def _install(self, workload: Workload, authority: Authority) -> None:
        certificate, key = self._issue(workload, authority)
        folder = self._folder / workload.name
        version = f"v-{certificate.serial_number:x}"
        target = folder / version
        target.mkdir(mode=0o700, parents=True)
        write_atomically(target / "tls.crt", _certificate_pem(certificate), mode=0o644)
        write_atomically(target / "tls.key", _key_pem(key), mode=0o600)
        write_atomically(target / "ca.crt", _certificate_pem(authority.certificate), mode=0o644)
        before = os.readlink(folder / "current") if (folder / "current").is_symlink() else None
        _link_atomically(folder / "current", version)
        for name in LINKS:
            if not (folder / name).is_symlink():
                _link_atomically(folder / name, f"current/{name}")
        # The version just replaced stays for readers that are between its two files.
        for old in folder.glob("v-*"):
            if old.name not in (version, before):
                shutil.rmtree(old)

    def _issue(self, workload: Workload, authority: Authority) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock()
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(self.spiffe_id(workload.name)),
            x509.DNSName(workload.name),
            *(x509.DNSName(name) for name in workload.dns_names),
            *(x509.IPAddress(ipaddress.ip_address(ip)) for ip in workload.ip_addresses),
        ]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        issuer_key = authority.key.public_key()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, workload.name)]))
            .issuer_name(authority.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + self._lifetime)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
            .sign(authority.key, hashes.SHA256())
        )
        return certificate, key


def read_certificate(file: Path) -> x509.Certificate | None:
    """The certificate in a PEM file, or None if the file is missing or damaged."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return None


def _read_key(file: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def write_atomically(file: Path, content: bytes, *, mode: int) -> None:
    """Replace a file in one step, so that no reader sees half of it."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _link_atomically(link: Path, target: str) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
