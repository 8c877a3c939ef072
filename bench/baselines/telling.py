"""What a baseline is told and tells, as `liquidation serve` does."""

import argparse
import json

__all__ = ["listen_argument", "tell_serving"]


def listen_argument() -> str:
    """The address of `--listen`: HOST:PORT, port 0 for any that is free, or unix:PATH."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:0")
    return str(parser.parse_args().listen)


def tell_serving(address: str, port: int) -> None:
    """Prints the one line that says where calls are taken."""
    bound = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
    print(json.dumps({"event": "serving", "addresses": [bound]}), flush=True)
