"""Whoever names an address for us to ask cannot make us look around."""

import ipaddress

import pytest

from services.auth.adapters.outside import NotReached, Outside, is_public


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:53aa:64c:0:0:80ff:fffe", False),
    ],
)
def test_which_addresses_are_the_internets(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:1/",
        "https://[::1]:1/",
        "https://[::ffff:127.0.0.1]:1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        # Names, and numbers that only look like names, are judged by what they lead to.
        "https://localhost:1/",
        "https://2130706433:1/",
        "https://127.1:1/",
    ],
)
async def test_nothing_private_is_asked(url: str) -> None:
    with pytest.raises(NotReached) as caught:
        await Outside().get(url)
    # It ends before there is a connection that could fail.
    assert any(why in str(caught.value) for why in ("private", "ClientConnectorDNSError", "InvalidUrl"))


@pytest.mark.parametrize("url", ["http://id.acme.example/", "ftp://id.acme.example/", "file:///etc/passwd", "nonsense"])
async def test_nothing_is_asked_but_by_https(url: str) -> None:
    with pytest.raises(NotReached, match="not HTTPS"):
        await Outside(private=True).post(url, {}, "")
