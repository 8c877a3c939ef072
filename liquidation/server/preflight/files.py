"""Whether the server can use the files that it is told of."""

import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from liquidation.auth.keys import KeyState
from liquidation.config.live import Configuration, ConfigurationError, read_configuration
from liquidation.config.settings import Settings
from liquidation.rules.numbers import plain
from liquidation.rules.policy import RULE_NAMES, Mode, Policy
from liquidation.server.preflight.finding import Finding, note, ok, wrong
from liquidation.store.locations import DriverMissingError, SqliteFile, require_driver
from liquidation.store.sqlite.schema import NEWEST, version_at

_LOG: Final = "log"
_TLS: Final = "tls"
_CLIENT_CA: Final = "client CA"
_KEYS: Final = "API keys"
_RULES: Final = "rules"
_CANDIDATE: Final = "candidate rules"
# What expires sooner than this is told.
_SOON: Final = timedelta(days=14)
_STORE: Final = "store"
# The files beside a database, which whoever uses it must be able to write.
_BESIDE: Final = ("-wal", "-shm", "-turn", "-inside", "-log")


def lacks_directory(path: Path) -> str:
    """Why nothing can be made at `path`; "" if it can."""
    directory = path.parent
    try:
        mode = directory.stat().st_mode
    except OSError as error:
        return f"{directory}: {error.strerror}"
    if not stat.S_ISDIR(mode):
        return f"{directory} is not a directory"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"this user may not write in {directory}"
    return ""


def decision_log(settings: Settings) -> Finding:
    """Whether lines can be appended where they should be; no file is made."""
    path = settings.log_file
    told = "standard output"
    if path is not None:
        problem, told = _appending(path)
        if problem:
            return wrong(_LOG, f"{path}: {problem}")
    if not settings.log_redact:
        return ok(_LOG, told)
    told += f"; as hashes: {', '.join(settings.log_redact)}"
    if settings.log_redact_key:
        return ok(_LOG, told)
    # Ids are few enough to be tried one by one.
    return note(_LOG, f"{told}, which without --log-redact-key show to whoever has a list of ids")


def _appending(path: Path) -> tuple[str, str]:
    """Why nothing can be appended to `path`, "" if it can; and what is told then."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return lacks_directory(path), f"{path}: is not there yet, and will be made"
    except OSError as error:
        return str(error.strerror), ""
    if stat.S_ISDIR(mode):
        return "is a directory", ""
    problem = "" if os.access(path, os.W_OK) else "this user may not write to it"
    return problem, f"{path}: lines will be appended"


def certificates(settings: Settings, now: datetime) -> Iterator[Finding]:
    """The server's certificate and key, and the authorities of its callers."""
    if settings.tls_client_ca is not None:
        yield _authorities(settings.tls_client_ca, now)
    # The authorities are told above, whatever the certificate is like; by themselves they are none.
    own = ("tls_cert", "tls_key") if settings.tls_cert is not None else ("tls_key", "tls_client_ca")
    try:
        found = _read(settings, now, *own).certificates
    except ConfigurationError as error:
        yield wrong(_TLS, str(error))
        return
    if found is None:
        yield ok(_TLS, "off: calls are in plain text")
        return
    server = x509.load_pem_x509_certificate(found.chain)
    name = server.subject.rfc4514_string() or f"serial number {server.serial_number:x}"
    told = f"{settings.tls_cert}: {name}, valid until {_date(found.not_after)}"
    soon = found.not_after - now < _SOON
    yield note(_TLS, f"{told}; {_left(found.not_after, now)}") if soon else ok(_TLS, told)


def _authorities(path: Path, now: datetime) -> Finding:
    try:
        every = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        return wrong(_CLIENT_CA, f"{path}: cannot be read: {error.strerror}")
    except ValueError:
        return wrong(_CLIENT_CA, f"{path}: holds no PEM certificate that can be parsed")
    valid = [each for each in every if each.not_valid_before_utc <= now <= each.not_valid_after_utc]
    if not valid:
        return wrong(_CLIENT_CA, f"{path}: no certificate in it is valid now")
    until = max(each.not_valid_after_utc for each in valid)
    told = f"{path}: {_count(len(valid), 'authority', 'authorities')}, valid until {_date(until)}"
    if len(valid) < len(every):
        told += f"; {len(every) - len(valid)} more not valid now"
    if until - now < _SOON:
        return note(_CLIENT_CA, f"{told}; {_left(until, now)}")
    return ok(_CLIENT_CA, told)


def api_keys(settings: Settings, now: datetime) -> Iterator[Finding]:
    """How many keys there are, and how many are taken."""
    try:
        ring = _read(settings, now, "api_keys").keys
    except ConfigurationError as error:
        yield wrong(_KEYS, str(error))
        return
    if ring is None:
        yield ok(_KEYS, "off: whoever reaches an address may call")
        return
    states = Counter(entry.state(now) for entry in ring.entries)
    counted = ", ".join(f"{states[state]} {state.value}" for state in KeyState)
    told = f"{settings.api_keys}: {_count(len(ring.entries), 'key', 'keys')}: {counted}"
    if not states[KeyState.GOOD]:
        yield note(_KEYS, f"{told}; no call will be let in")
    else:
        yield ok(_KEYS, told)


def rules(settings: Settings, now: datetime) -> Iterator[Finding]:
    """The rules that will decide."""
    try:
        policy = _read(settings, now, "rules").policy
    except ConfigurationError as error:
        yield wrong(_RULES, str(error))
        return
    name = "built in" if settings.rules is None else str(settings.rules)
    yield _policy(_RULES, name, policy)


def candidate_rules(settings: Settings, now: datetime) -> Iterator[Finding]:
    """The rules whose verdicts will be compared."""
    try:
        policy = _read(settings, now, "candidate_rules").candidate
    except ConfigurationError as error:
        yield wrong(_CANDIDATE, str(error))
        return
    if policy is None:
        yield ok(_CANDIDATE, "none")
    else:
        yield _policy(_CANDIDATE, str(settings.candidate_rules), policy)


def _policy(what: str, name: str, policy: Policy) -> Finding:
    thresholds = ", ".join(
        f"{tier.name.lower()} {plain(amount)}" for tier, amount in policy.min_claim_notional.items()
    )
    told = f"{name}: version {policy.version}, min_claim_notional {thresholds}"
    loose = [
        f"{rule} {policy.mode(rule).value}"
        for rule in RULE_NAMES
        if policy.mode(rule) is not Mode.ENFORCE
    ]
    if loose:
        return note(what, f"{told}; not enforced: {', '.join(loose)}")
    return ok(what, f"{told}; every rule is enforced")


def _read(settings: Settings, now: datetime, *names: str) -> Configuration:
    """What the files of these settings say, read as a server reads them, and no others."""
    alone = Settings(**{name: getattr(settings, name) for name in names})
    return read_configuration(alone, lambda: now)


def _date(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _left(end: datetime, now: datetime) -> str:
    return f"that is in {_count((end - now).days, 'day', 'days')}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def store(settings: Settings) -> Iterator[Finding]:
    """What is to be told of the database, at least one finding."""
    if isinstance(settings.store, SqliteFile):
        yield _sqlite(settings.store)
        return
    try:
        require_driver()
    except DriverMissingError as error:
        yield wrong(_STORE, str(error))
        return
    from liquidation.server.preflight.postgres import postgres  # noqa: PLC0415 - it needs an extra

    yield from postgres(_STORE, settings.store)


def _sqlite(file: SqliteFile) -> Finding:
    path, name = file.path, file.told
    if problem := lacks_directory(path) or _cannot_write(path):
        return wrong(_STORE, f"{name}: {problem}")
    if not path.exists():
        return ok(_STORE, f"{name}: is not there yet, and will be made")
    try:
        version = version_at(path)
    except sqlite3.Error as error:
        return wrong(_STORE, f"{name}: {error}")
    return _of_version(name, version)


def _cannot_write(path: Path) -> str:
    for each in (path, *(path.with_name(f"{path.name}{suffix}") for suffix in _BESIDE)):
        if each.is_dir():
            return f"{each} is a directory"
        if each.exists() and not os.access(each, os.R_OK | os.W_OK):
            return f"this user may not write to {each}"
    return ""


def _of_version(name: str, version: int | None) -> Finding:
    if version is None:
        return note(_STORE, f"{name}: holds the tables of another program, and none of this one's")
    if version > NEWEST:
        told = f"{name}: schema version {version}, of which {NEWEST} is the newest known here"
        return wrong(_STORE, told)
    if version == 0:
        return ok(_STORE, f"{name}: is empty, and will be set up")
    if version < NEWEST:
        told = f"{name}: schema version {version}, which the start brings to {NEWEST} for good"
        return note(_STORE, told)
    return ok(_STORE, f"{name}: schema version {version}")
