"""Certificates of authorities that exist for the length of a test."""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

__all__ = ["LOCAL", "Authority", "Issued", "encrypted", "self_signed", "serial_shown"]

# The names by which a server on loopback is called.
LOCAL: Final = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM."""

    chain: bytes
    key: bytes

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.chain).serial_number

    def write(self, cert: Path, key: Path) -> None:
        """Replaces the files, each at once, the key first: between the two they do not match."""
        for path, content in ((key, self.key), (cert, self.chain)):
            new = path.with_name(f"{path.name}.new")
            new.write_bytes(content)
            new.rename(path)


class Authority:
    """An authority that issues certificates, valid for a day around now unless told otherwise."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self._ca.cert_pem.bytes()

    def issue(
        self,
        *names: str,
        begins: timedelta = timedelta(days=-1),
        ends: timedelta = timedelta(days=1),
    ) -> Issued:
        """A certificate for hosts or addresses, or a name of a client such as `a@b`."""
        now = datetime.now(UTC)
        leaf = self._ca.issue_cert(*names, not_before=now + begins, not_after=now + ends)
        chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
        return Issued(chain, leaf.private_key_pem.bytes())


def self_signed(
    key: CertificateIssuerPrivateKeyTypes, ends: timedelta = timedelta(days=1)
) -> Issued:
    """A certificate for loopback that `key` itself signed."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256())
    )
    return Issued(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def encrypted(key: bytes) -> bytes:
    """A key as it is with a passphrase."""
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
    )


async def serial_shown(address: str, servers: Authority, client: Issued) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cadata=servers.pem.decode())
    with TemporaryDirectory() as directory:
        cert, key = Path(directory, "cert"), Path(directory, "key")
        client.write(cert, key)
        context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    await reader.readexactly(9)  # the server's first frame: it has taken the connection
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(shown).serial_number
