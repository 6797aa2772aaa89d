"""The local certificate authority."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from laptop.pki import LocalPki, Workload, read_certificate

WORKLOADS = (Workload("edge", dns_names=("localhost",), ip_addresses=("127.0.0.1",)), Workload("auth"))


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pki(tmp_path: Path, clock: Clock) -> LocalPki:
    lifetime = timedelta(hours=24)
    return LocalPki(tmp_path, trust_domain="deskmesh.local", environment="dev", lifetime=lifetime, clock=clock)


def certificate(folder: Path) -> x509.Certificate:
    found = read_certificate(folder / "tls.crt")
    assert found is not None
    return found


def test_a_leaf_names_its_workload_and_is_signed_by_the_authority(pki: LocalPki, tmp_path: Path) -> None:
    assert pki.ensure(WORKLOADS) == ["edge", "auth"]
    edge = certificate(tmp_path / "edge")
    names = edge.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://deskmesh.local/ns/dev/sa/edge"]
    assert names.get_values_for_type(x509.DNSName) == ["edge", "localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    authority = read_certificate(tmp_path / "ca.crt")
    assert authority is not None
    edge.verify_directly_issued_by(authority)
    assert (tmp_path / "edge" / "ca.crt").read_bytes() == (tmp_path / "ca.crt").read_bytes()


def test_keys_are_for_the_owner_only_and_fit_their_certificates(pki: LocalPki, tmp_path: Path) -> None:
    pki.ensure(WORKLOADS)
    for file in (tmp_path / "ca.key", tmp_path / "auth" / "tls.key"):
        assert stat.S_IMODE(file.resolve().stat().st_mode) == 0o600
    key = serialization.load_pem_private_key((tmp_path / "auth" / "tls.key").read_bytes(), password=None)
    assert key.public_key() == certificate(tmp_path / "auth").public_key()


def test_nothing_changes_before_half_of_the_life(pki: LocalPki, clock: Clock) -> None:
    pki.ensure(WORKLOADS)
    clock.now += timedelta(hours=11, minutes=55)
    assert pki.ensure(WORKLOADS) == []
    clock.now += timedelta(minutes=10)
    assert pki.ensure(WORKLOADS) == ["edge", "auth"]


def test_a_rotation_replaces_certificate_and_key_in_one_step(pki: LocalPki, clock: Clock, tmp_path: Path) -> None:
    pki.ensure(WORKLOADS)
    folder = tmp_path / "auth"
    before, link = certificate(folder), (folder / "current").readlink()
    clock.now += timedelta(hours=13)
    pki.ensure(WORKLOADS)
    assert certificate(folder).serial_number != before.serial_number
    assert (folder / "current").readlink() != link
    assert (folder / link / "tls.key").exists(), "who has read the old certificate still finds its key"
    clock.now += timedelta(hours=13)
    pki.ensure(WORKLOADS)
    assert len(list(folder.glob("v-*"))) == 2


@pytest.mark.parametrize("damage", ["tls.crt", "tls.key"])
def test_a_damaged_or_missing_file_is_made_anew(pki: LocalPki, tmp_path: Path, damage: str) -> None:
    pki.ensure(WORKLOADS)
    (tmp_path / "auth" / damage).resolve().unlink()
    assert pki.ensure(WORKLOADS) == ["auth"]


def test_an_authority_that_ends_soon_is_replaced_with_all_it_signed(pki: LocalPki, clock: Clock) -> None:
    pki.ensure(WORKLOADS)
    clock.now += timedelta(days=340)
    assert pki.ensure(WORKLOADS) == ["edge", "auth"]


def test_a_key_of_another_authority_is_not_used(pki: LocalPki, tmp_path: Path) -> None:
    pki.ensure(WORKLOADS)
    (tmp_path / "ca.key").write_bytes((tmp_path / "auth" / "tls.key").read_bytes())
    assert pki.ensure(WORKLOADS) == ["edge", "auth"]
