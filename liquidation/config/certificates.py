"""Reads the files of certificates and keys, and checks them.

They are checked when they are read, so that a fault shows to the operator and never first to a
caller. Only a server with TLS imports this: the library that it needs takes 9 MB.
"""

from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from liquidation.config.tls import CertificateError, Certificates

# Bits, inclusive: current clients refuse a shorter RSA key as too weak.
_LEAST_RSA_BITS: Final = 2048
# The only curves that gRPC's clients accept in a certificate: with Ed25519 and P-521 the server
# starts, and no client ever connects.
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)


def read_certificates(cert: Path, key: Path, client_ca: Path | None, now: datetime) -> Certificates:
    """What the PEM files hold: the server's certificate first in `cert`, then who issued it.

    `now` is a time with a zone.

    Raises:
        CertificateError: a file cannot be read or is not PEM; the key is encrypted, of a kind that
            clients do not accept, or of another certificate; a certificate of the chain, or every
            one of `client_ca`, is not valid at `now`.
    """
    chain_pem, key_pem = _content(cert), _content(key)
    chain = _certificates(cert, chain_pem)
    for certificate in chain:
        if problem := _out_of_time(certificate, now):
            raise CertificateError(f"{cert}: the certificate of {_name(certificate)} {problem}")
    public_key = _private_key(key, key_pem).public_key()
    if problem := _unusable(public_key):
        raise CertificateError(f"{key}: {problem}")
    if public_key != chain[0].public_key():
        raise CertificateError(f"{key}: is not the key of the first certificate in {cert}")
    return Certificates(
        chain=chain_pem,
        key=key_pem,
        client_ca=None if client_ca is None else _authorities(client_ca, now),
        not_after=min(certificate.not_valid_after_utc for certificate in chain),
        serial=chain[0].serial_number,
    )


def _authorities(path: Path, now: datetime) -> bytes:
    pem = _content(path)
    problems = [_out_of_time(certificate, now) for certificate in _certificates(path, pem)]
    # Old authorities may stay beside new ones for as long as clients have not moved over.
    if all(problems):
        raise CertificateError(
            f"{path}: no certificate in it is valid now; the first {problems[0]}"
        )
    return pem


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror}") from error


def _certificates(path: Path, pem: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise CertificateError(f"{path}: holds no PEM certificate")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateError(f"{path}: holds a certificate that cannot be parsed") from error


def _private_key(path: Path, pem: bytes) -> PrivateKeyTypes:
    if b"PRIVATE KEY-----" not in pem:
        raise CertificateError(f"{path}: holds no PEM private key")
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise CertificateError(
            f"{path}: the key is encrypted; give one that needs no passphrase, mode 0600"
        ) from error
    except (ValueError, UnsupportedAlgorithm):
        # What the parser says may show pieces of the key.
        raise CertificateError(f"{path}: holds a private key that cannot be parsed") from None


def _unusable(key: PublicKeyTypes) -> str:
    """Why clients would not accept a key; "" if they do."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size >= _LEAST_RSA_BITS:
            return ""
        return f"an RSA key of {key.key_size} bits is too short: {_LEAST_RSA_BITS} is the least"
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return ""
    return "gRPC's clients do not accept this kind of key; make an RSA, P-256 or P-384 one"


def _out_of_time(certificate: x509.Certificate, now: datetime) -> str:
    """Why a certificate is not valid at `now`; "" if it is."""
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {certificate.not_valid_before_utc.isoformat()}"
    if now > certificate.not_valid_after_utc:
        return f"expired at {certificate.not_valid_after_utc.isoformat()}"
    return ""


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial number {certificate.serial_number:x}"
