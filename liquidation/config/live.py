"""What the files that the server is told of say: read once at start, and again when they change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from liquidation.auth.keys import KeyRing, KeysError, read_keys
from liquidation.config.settings import Settings, load_policy
from liquidation.config.tls import CertificateError, Certificates
from liquidation.config.watched_file import OnReload, Reloadable, WatchedFile, read_text
from liquidation.rules.policy import ActivePolicy, Limits, Policy, PolicyError

_T = TypeVar("_T")

_PROBLEMS = (PolicyError, KeysError, CertificateError)


class ConfigurationError(Exception):
    """A file, or what was told of files, that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the files say; None if there is no such file."""

    policy: Policy
    candidate: Policy | None = None
    keys: KeyRing | None = None
    certificates: Certificates | None = None


def read_configuration(settings: Settings, now: Callable[[], datetime]) -> Configuration:
    """Everything that `settings` name.

    Raises:
        ConfigurationError: one of the files cannot be used.
    """
    return Configuration(
        _named(settings.rules, lambda: load_policy(settings.rules)),
        _named(settings.candidate_rules, lambda: _candidate(settings)),
        _named(settings.api_keys, lambda: _keys(settings)),
        _named(None, lambda: _certificates(settings, now)),
    )


def _named(path: Path | None, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except _PROBLEMS as error:
        raise ConfigurationError(f"{path}: {error}" if path else str(error)) from error


def _candidate(settings: Settings) -> Policy | None:
    path = settings.candidate_rules
    return None if path is None else load_policy(path)


def _keys(settings: Settings) -> KeyRing | None:
    path = settings.api_keys
    return None if path is None else read_keys(read_text(path, KeysError))


def _certificates(settings: Settings, now: Callable[[], datetime]) -> Certificates | None:
    cert, key, client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        raise CertificateError("--tls-cert and --tls-key must be given together")
    from liquidation.config.certificates import read_certificates  # noqa: PLC0415 - see there

    return read_certificates(cert, key, client_ca, now())


class LiveConfig:
    """What is in force now: what each file said when it was last valid."""

    def __init__(
        self,
        settings: Settings,
        start: Configuration,
        now: Callable[[], datetime],
        on_reload: OnReload,
    ) -> None:
        """`start` is in force until a file is read again; `on_reload` hears what came of that."""

        def reloaded(
            name: str, paths: Sequence[Path | None], read: Callable[[], _T], in_force: _T
        ) -> WatchedFile[_T]:
            given = [path for path in paths if path is not None]
            return WatchedFile(name, given, read, _PROBLEMS, in_force, on_reload)

        tls = (settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        self._policy = reloaded(
            "rules", [settings.rules], lambda: load_policy(settings.rules), start.policy
        )
        self._candidate = reloaded(
            "candidate_rules",
            [settings.candidate_rules],
            lambda: _candidate(settings),
            start.candidate,
        )
        self._keys = reloaded("api_keys", [settings.api_keys], lambda: _keys(settings), start.keys)
        self._certificates = reloaded(
            "tls", tls, lambda: _certificates(settings, now), start.certificates
        )
        every: list[Reloadable] = [self._policy, self._candidate, self._keys, self._certificates]
        self.files = [each for each in every if each.paths]

    def active_policy(self) -> ActivePolicy:
        """The rules that decide, and the candidate, at one moment."""
        return ActivePolicy(self._policy.current, self._candidate.current)

    def policy(self) -> Policy:
        """The rules that decide."""
        return self._policy.current

    def limits(self) -> Limits:
        """What the server takes."""
        return self._policy.current.limits

    def keys(self) -> KeyRing | None:
        """The keys that calls need; None if they need none."""
        return self._keys.current

    def certificates(self) -> Certificates | None:
        """What is shown in a handshake; None if nothing is encrypted."""
        return self._certificates.current

    def certificates_in_use(self) -> Callable[[], Certificates] | None:
        """What gives the certificates of each handshake; None if nothing is encrypted."""

        def current() -> Certificates:
            certificates = self._certificates.current
            assert certificates is not None, "files are read again, and never given up"
            return certificates

        return None if self._certificates.current is None else current

    def configuration(self) -> Configuration:
        """All of it, as a process that is started now is to begin with."""
        return Configuration(
            self._policy.current,
            self._candidate.current,
            self._keys.current,
            self._certificates.current,
        )

    def reload(self) -> None:
        """Reads all files again now."""
        for each in self.files:
            each.reload()
