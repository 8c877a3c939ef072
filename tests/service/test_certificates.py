"""Certificates as they are read: a fault is the operator's to see, and never first a caller's."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, SECP384R1, SECP521R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as on_curve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as of_bits

from liquidation.config.certificates import read_certificates
from liquidation.config.tls import CertificateError, Certificates
from tests.certificates import LOCAL, Authority, Issued, encrypted, self_signed


def _read(directory: Path, client_ca: Path | None = None) -> Certificates:
    return read_certificates(
        directory / "tls.crt", directory / "tls.key", client_ca, datetime.now(UTC)
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Sound files: the certificate of a server, its key, and the authority of clients."""
    authority = Authority()
    authority.issue(*LOCAL).write(tmp_path / "tls.crt", tmp_path / "tls.key")
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    return tmp_path


def test_sound_files_are_taken_as_they_are(directory: Path) -> None:
    certificates = _read(directory, directory / "ca.crt")

    assert certificates.chain == (directory / "tls.crt").read_bytes()
    assert certificates.key == (directory / "tls.key").read_bytes()
    assert certificates.client_ca == (directory / "ca.crt").read_bytes()
    assert certificates == _read(directory, directory / "ca.crt")
    assert certificates != _read(directory)


def test_a_certificate_runs_out_with_the_first_of_its_chain(tmp_path: Path) -> None:
    authority = Authority()
    leaf = authority.issue(*LOCAL, ends=timedelta(days=90))
    intermediate = authority.issue("intermediate.example", ends=timedelta(days=5))
    Issued(leaf.chain + intermediate.chain, leaf.key).write(
        tmp_path / "tls.crt", tmp_path / "tls.key"
    )

    certificates = _read(tmp_path)

    assert certificates.serial == leaf.serial
    left = certificates.not_after - datetime.now(UTC)
    assert timedelta(days=4) < left < timedelta(days=6)


def test_the_key_is_never_shown(directory: Path) -> None:
    assert "PRIVATE KEY" not in repr(_read(directory))


def _replace(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(content)


def _encrypt(directory: Path) -> None:
    key = directory / "tls.key"
    key.write_bytes(encrypted(key.read_bytes()))


def _cut(directory: Path) -> None:
    cert = directory / "tls.crt"
    cert.write_bytes(cert.read_bytes().replace(b"M", b"!", 1))


_OTHER = Authority().issue(*LOCAL)
_EXPIRED = Authority().issue(*LOCAL, begins=timedelta(days=-9), ends=timedelta(days=-2))
_EARLY = Authority().issue(*LOCAL, begins=timedelta(days=2), ends=timedelta(days=9))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda directory: (directory / "tls.crt").unlink(), "tls.crt: cannot be read: No such"),
        (lambda directory: (directory / "tls.key").unlink(), "tls.key: cannot be read: No such"),
        (lambda directory: (directory / "ca.crt").unlink(), "ca.crt: cannot be read: No such"),
        (_replace("tls.crt", b""), "tls.crt: holds no PEM certificate"),
        (_replace("tls.crt", _OTHER.key), "tls.crt: holds no PEM certificate"),
        (_cut, "tls.crt: holds a certificate that cannot be parsed"),
        (_replace("tls.key", _OTHER.chain), "tls.key: holds no PEM private key"),
        (
            _replace("tls.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "tls.key: holds a private key that cannot be parsed",
        ),
        (_replace("tls.key", _OTHER.key), "tls.key: is not the key of the first certificate in"),
        (_encrypt, "tls.key: the key is encrypted"),
        (_replace("tls.crt", _EXPIRED.chain), "tls.crt: the certificate of "),
        (_replace("tls.crt", _EXPIRED.chain), " expired at 20"),
        (_replace("tls.crt", _EARLY.chain), " is not valid before 20"),
        (_replace("ca.crt", b"none"), "ca.crt: holds no PEM certificate"),
        (
            _replace("ca.crt", _EXPIRED.chain),
            "ca.crt: no certificate in it is valid now; the first expired at 20",
        ),
    ],
)
def test_a_fault_names_the_file_and_what_is_wrong_with_it(
    directory: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(directory)

    with pytest.raises(CertificateError) as told:
        _read(directory, directory / "ca.crt")

    assert words in str(told.value)
    assert str(directory) in str(told.value)


def test_an_expired_certificate_later_in_the_chain_counts(tmp_path: Path) -> None:
    leaf = Authority().issue(*LOCAL)
    Issued(leaf.chain + _EXPIRED.chain, leaf.key).write(tmp_path / "tls.crt", tmp_path / "tls.key")

    with pytest.raises(CertificateError, match="expired at"):
        _read(tmp_path)


def test_an_old_authority_may_stay_beside_the_new_one(directory: Path) -> None:
    both = directory / "both.crt"
    both.write_bytes(_EXPIRED.chain + (directory / "ca.crt").read_bytes())

    assert _read(directory, both).client_ca == both.read_bytes()


@pytest.mark.parametrize(
    "key", [on_curve(SECP384R1()), of_bits(65537, 2048)], ids=["P-384", "RSA 2048"]
)
def test_keys_that_clients_accept_are_taken(tmp_path: Path, key: object) -> None:
    issued = self_signed(key)  # type: ignore[arg-type]
    issued.write(tmp_path / "tls.crt", tmp_path / "tls.key")

    assert _read(tmp_path).serial == issued.serial


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (Ed25519PrivateKey.generate(), "do not accept this kind of key"),
        (on_curve(SECP521R1()), "do not accept this kind of key"),
        (on_curve(SECP256K1()), "do not accept this kind of key"),
        (of_bits(65537, 1024), "an RSA key of 1024 bits is too short: 2048 is the least"),
    ],
    ids=["Ed25519", "P-521", "secp256k1", "RSA 1024"],
)
def test_keys_that_clients_would_not_accept_are_told(
    tmp_path: Path, key: object, words: str
) -> None:
    self_signed(key).write(tmp_path / "tls.crt", tmp_path / "tls.key")  # type: ignore[arg-type]

    with pytest.raises(CertificateError, match=words):
        _read(tmp_path)
