"""Where a command runs that looks at files by their names."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.certificates import LOCAL, Authority


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs, and where the files stand."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def authority(directory: Path) -> Authority:
    """Who issued the certificate in `tls.crt`."""
    authority = Authority()
    authority.issue(*LOCAL, ends=timedelta(days=90)).write(
        directory / "tls.crt", directory / "tls.key"
    )
    (directory / "ca.crt").write_bytes(authority.pem)
    return authority
