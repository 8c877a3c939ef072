"""Calls a server that asks its callers for a certificate, and for an API key if it wants one.

    python examples/mutual_tls.py ADDRESS CA CERT KEY [API_KEY_FILE]

ADDRESS is a name or number that stands in the server's certificate, with the port. CA is who issued
that certificate; CERT and KEY are the caller's own. All three are PEM files. API_KEY_FILE holds the
API key that `liquidation keys new` printed.
"""

import sys
from pathlib import Path

import grpc

from liquidation.client import LiquidationClient


def credentials(ca: Path, cert: Path, key: Path) -> grpc.ChannelCredentials:
    """Whom the server must be vouched for by, and what this caller shows."""
    return grpc.ssl_channel_credentials(
        root_certificates=ca.read_bytes(),
        private_key=key.read_bytes(),
        certificate_chain=cert.read_bytes(),
    )


def main(address: str, ca: str, cert: str, key: str, api_key_file: str = "") -> None:
    """Asks for the rules in force."""
    encrypted = credentials(Path(ca), Path(cert), Path(key))
    api_key = Path(api_key_file).read_text().strip() if api_key_file else ""
    with LiquidationClient(address, encrypted, api_key=api_key) as client:
        print(f"rules in force: {client.get_rules().version}")


if __name__ == "__main__":
    main(*sys.argv[1:])
