"""Addresses: how they are written, and which of them other hosts may reach."""

from pathlib import Path

import pytest

from liquidation.config.addresses import TcpAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:50051", TcpAddress("127.0.0.1", 50051)),
        ("risk-1.internal:0", TcpAddress("risk-1.internal", 0)),
        ("[::1]:65535", TcpAddress("::1", 65535)),
        ("unix:run/s", UnixAddress(Path("run/s"))),
        ("unix:///run/s", UnixAddress(Path("/run/s"))),
    ],
)
def test_an_address_is_read_and_written(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nowhere", "neither HOST:PORT nor unix:PATH"),
        (":50051", "neither HOST:PORT nor unix:PATH"),
        ("127.0.0.1:", "neither HOST:PORT nor unix:PATH"),
        ("127.0.0.1:65536", "neither HOST:PORT nor unix:PATH"),
        ("127.0.0.1:٣", "neither HOST:PORT nor unix:PATH"),
        ("unix:", "neither HOST:PORT nor unix:PATH"),
        ("unix:/", "neither HOST:PORT nor unix:PATH"),
        ("unix:a\0b", "neither HOST:PORT nor unix:PATH"),
        ("::1:50051", "stands in brackets, as in [::1]:50051"),
        ("[localhost]:50051", "'localhost' is not an IPv6 address"),
        (f"unix:/{'d' * 96}/s", "the directory may take 95"),
        (f"unix:/{'s' * 107}", "the kernel takes 107 bytes"),
        (f"unix:/{'é' * 54}", "the kernel takes 107 bytes"),
    ],
)
def test_what_is_no_address_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^'") as told:
        parse_address(text)

    assert words in str(told.value)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.9.10:1", True),
        ("localhost:1", True),
        ("LocalHost:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("unix:s", True),
        ("0.0.0.0:1", False),
        ("10.0.0.1:1", False),
        ("[::]:1", False),
        ("[::ffff:10.0.0.1]:1", False),
        ("localhost.example:1", False),
        # A name server might say loopback; it might say something else tomorrow.
        ("risk-1.internal:1", False),
        ("127.1:1", False),
    ],
)
def test_loopback_is_what_certainly_no_other_host_reaches(text: str, *, loopback: bool) -> None:
    assert parse_address(text).loopback is loopback
