"""Whether the files that a server reads are sound, and what is in them."""

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

__all__ = ["api_keys", "candidate_rules", "certificates", "rules"]

_TLS: Final = "tls"
_CLIENT_CA: Final = "client CA"
_KEYS: Final = "API keys"
_RULES: Final = "rules"
_CANDIDATE: Final = "candidate rules"
# What expires sooner than this is told.
_SOON: Final = timedelta(days=14)


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
