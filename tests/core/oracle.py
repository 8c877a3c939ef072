"""A second reading of the rules: fractions over a request's JSON, and nothing of the service.

It is written from the contract of the API alone and shares no code with what it judges. Where the
contract leaves the choice to the service, the choice is named with "Choice:".
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any

__all__ = [
    "RULES",
    "Answer",
    "InForce",
    "State",
    "evaluate",
    "initial_margin",
    "maintenance_margin",
    "nearest_four_fifths_power",
    "shown",
]

Json = Mapping[str, Any]

RULES = (
    "known_fields",
    "well_formed",
    "ratio_qty_request_range",
    "extra_liquidation_ratio_range",
    "extra_needs_full_ratio",
    "liquidation_known",
    "tier_shape",
    "no_claim_in_process",
    "liquidator_not_in_liquidation",
    "margin_below_maintenance",
    "least_request_ratio",
    "limit_price",
    "liquidator_margin",
)

WRONG_FORMAT = "Some parameters are in wrong format for api."
IN_LIQUIDATION = (
    "The place/cancel order request is rejected by internal module, it may because the account is "
    "in liquidation or other internal errors. Please try again in a few seconds."
)


@dataclass(frozen=True)
class State:
    """What is stored when a request comes: at most one liquidation of its id."""

    stored: Json | None = None
    closed: bool = False
    open_accounts: frozenset[str] = frozenset()
    active_claim: bool = False
    last_completed_revision: int | None = None


@dataclass(frozen=True)
class InForce:
    """The rules in force, as texts of a rules file."""

    thresholds: Mapping[str, str] = field(
        default_factory=lambda: {"TIER_LOW": "10000", "TIER_HIGH": "5000"}
    )
    modes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What the service has to answer, numbers as texts; "" where a number cannot be told."""

    code: int = 0
    words: str = ""
    rule: str = ""
    total_notional: str = ""
    least_req_ratio: str = ""
    margin_ratio: str = ""
    maintenance_margin_ratio: str = ""
    revision: int = 0
    positions: tuple[tuple[str, str, str, str], ...] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)
    shadow: tuple[tuple[str, int, str], ...] = ()


@dataclass(frozen=True)
class _Refusal:
    code: int
    words: str
    numbers: Mapping[str, str] = field(default_factory=dict)


def evaluate(
    request: Json, state: State, in_force: InForce, *, unknown_field: bool = False
) -> Answer:
    """The answer to `request`, which has a field of no known number where `unknown_field`."""
    question = _Question(request, state, in_force)
    shadow: list[tuple[str, int, str]] = []
    refused: tuple[str, _Refusal] | None = None
    for rule, refusal in _refusals(question, unknown_field):
        mode = in_force.modes.get(rule, "enforce")
        if mode == "shadow":
            shadow.append((rule, refusal.code, refusal.words))
        elif mode == "enforce":
            refused = rule, refusal
            break
    told = question.numbers() | {"shadow": tuple(shadow)}
    if refused is None:
        return Answer(**told, positions=question.claimed_positions())
    rule, refusal = refused
    return Answer(refusal.code, refusal.words, rule, **told, numbers=refusal.numbers)


_WORDS = {
    "known_fields": (-1004, "An unknown parameter was sent."),
    "well_formed": (-1005, WRONG_FORMAT),
    "ratio_qty_request_range": (-1005, "ratio_qty_request should be in range 0-1."),
    "extra_liquidation_ratio_range": (-1005, "extra_liquidation_ratio should be in range 0-1."),
    "extra_needs_full_ratio": (
        -1005,
        "if you set extra_liquidation_ratio > 0, ratio_qty_request must be 1.",
    ),
    "liquidation_known": (-1202, "Can not find given liquidationId."),
    "tier_shape": (-1005, WRONG_FORMAT),
    "no_claim_in_process": (-1012, "Another liquidation is in process"),
    "liquidator_not_in_liquidation": (-1012, IN_LIQUIDATION),
    "margin_below_maintenance": (-1202, "No need to liquidation because user margin is enough."),
    "limit_price": (-1103, "The order price is not following the scope or range rules."),
}


def _refusals(question: "_Question", unknown_field: bool) -> Iterator[tuple[str, _Refusal]]:
    """Every rule that is broken, in order. A later rule is looked at only if asked for."""
    broken: dict[str, Callable[[], bool]] = {
        "known_fields": lambda: unknown_field,
        "well_formed": lambda: not question.well_formed,
        "ratio_qty_request_range": lambda: not all(0 <= each <= 1 for each in question.ratios),
        "extra_liquidation_ratio_range": lambda: not 0 <= question.extra <= 1,
        "extra_needs_full_ratio": lambda: (
            question.extra > 0 and any(each != 1 for each in question.ratios)
        ),
        "liquidation_known": lambda: question.decided_on is None,
        "tier_shape": lambda: not question.fits_tier(),
        "no_claim_in_process": question.in_process,
        "liquidator_not_in_liquidation": question.liquidator_in_liquidation,
        "margin_below_maintenance": question.margin_is_enough,
        "limit_price": question.limit_is_crossed,
    }
    with_numbers: dict[str, Callable[[], _Refusal | None]] = {
        "least_request_ratio": question.too_small,
        "liquidator_margin": question.liquidator_unfit,
    }
    for rule in RULES:
        if rule in with_numbers:
            refusal = with_numbers[rule]()
        else:
            refusal = _Refusal(*_WORDS[rule]) if broken[rule]() else None
        if refusal is not None:
            yield rule, refusal


class _Question:
    """A request, what is stored, and the rules; every answer is computed when asked for."""

    def __init__(self, request: Json, state: State, in_force: InForce) -> None:
        self._state = state
        self._in_force = in_force
        self._sent = request.get("liquidation")
        self._liquidator = request.get("liquidator")
        self._terms: Json = request.get("terms", {})
        self.well_formed = _is_well_formed(self._terms, self._sent, self._liquidator)
        self._named: list[Json] = list(self._terms.get("symbols", []))
        self.ratios: list[Fraction] = []
        self.extra = Fraction(0)
        self.decided_on: Json | None = None
        if not self.well_formed:
            return
        self.ratios = [Fraction(each["ratio_qty_request"]) for each in self._named] or [
            Fraction(self._terms["ratio_qty_request"])
        ]
        self.extra = Fraction(self._terms.get("extra_liquidation_ratio") or "0")
        self.decided_on = self._snapshot()

    def _snapshot(self) -> Json | None:
        sent, stored = self._sent, self._state.stored
        if self._state.closed:
            return None
        if sent is None or stored is None:
            return sent if stored is None else stored
        if sent["account_id"] != stored["account_id"]:
            # Choice: an id that is another account's is not the given one.
            return None
        return stored if sent["revision"] < stored["revision"] else sent

    @property
    def _liquidation(self) -> Json:
        assert self.decided_on is not None
        return self.decided_on

    @property
    def _positions(self) -> dict[str, Json]:
        return {each["symbol"]: each for each in self._liquidation["positions"]}

    @property
    def _is_low(self) -> bool:
        return bool(self._liquidation["tier"] == "TIER_LOW")

    @property
    def _threshold(self) -> Fraction:
        return Fraction(self._in_force.thresholds[self._liquidation["tier"]])

    def fits_tier(self) -> bool:
        listed = self._positions.keys()
        if not set(self._terms.get("limit_price", {})) <= listed:
            return False
        if self._is_low:
            return not self._named
        return self._names_listed_symbols()

    def _names_listed_symbols(self) -> bool:
        names = {each["symbol"] for each in self._named}
        return bool(names) and names <= self._positions.keys()

    def in_process(self) -> bool:
        completed = self._state.last_completed_revision
        revision = self._liquidation["revision"]
        return self._state.active_claim or (completed is not None and revision <= completed)

    def liquidator_in_liquidation(self) -> bool:
        claimant = self._terms["liquidator_id"]
        itself = claimant == self._liquidation["account_id"]
        return itself or claimant in self._state.open_accounts

    def margin_is_enough(self) -> bool:
        margin_ratio, maintenance = _margin_ratios(self._liquidation)
        return margin_ratio >= maintenance

    def _demands(self) -> list[tuple[str, Fraction]] | None:
        """Symbol and notional of each comparison with the threshold; "" is the whole."""
        if self._is_low:
            return [("", sum(map(_notional, self._positions.values()), Fraction(0)))]
        if not self._names_listed_symbols():
            return None
        return [
            (each["symbol"], _notional(self._positions[each["symbol"]])) for each in self._named
        ]

    def _least(self, notional: Fraction) -> Fraction:
        threshold = self._threshold
        return Fraction(1) if notional < threshold else _four_digits_up(threshold / notional)

    def too_small(self) -> _Refusal | None:
        threshold = self._threshold
        for (symbol, notional), ratio in zip(self._demands() or [], self.ratios, strict=True):
            numbers = {
                "total_notional": shown(notional),
                "min_claim_notional": shown(threshold),
                "least_req_ratio": shown(self._least(notional)),
            }
            if symbol:
                numbers["symbol"] = symbol
            if notional < threshold:
                if ratio != 1:
                    words = f"total notional < {shown(threshold)}, least req ratio should = 1"
                    return _Refusal(-1201, words, numbers)
            elif ratio * notional < threshold:
                words = f"least req ratio should = {numbers['least_req_ratio']}"
                return _Refusal(-1201, words, numbers)
        return None

    def _claimed(self) -> list[tuple[Json, Fraction]]:
        if self._is_low:
            return [(each, self.ratios[0]) for each in self._liquidation["positions"]]
        return [
            (self._positions[each["symbol"]], ratio)
            for each, ratio in zip(self._named, self.ratios, strict=True)
        ]

    def limit_is_crossed(self) -> bool:
        limits = self._terms.get("limit_price", {})
        for position, _ in self._claimed():
            if position["symbol"] in limits:
                limit = Fraction(limits[position["symbol"]])
                above = Fraction(position["mark_price"]) - limit
                if above * Fraction(position["position_qty"]) > 0:
                    return True
        return False

    def liquidator_unfit(self) -> _Refusal | None:
        if self._liquidator is None:
            return None
        account = self._liquidator["account"]
        listed = {each["symbol"] for each in account.get("positions", [])}
        taken = {
            position["symbol"]: Fraction(position["position_qty"]) * (ratio + self.extra)
            for position, ratio in self._claimed()
        }
        if not taken.keys() <= listed:
            return _Refusal(-1005, WRONG_FORMAT)
        if initial_margin(account, taken) > Fraction(account["collateral_value"]):
            return _Refusal(-1101, "The margin will be insufficient after.")
        return None

    def numbers(self) -> dict[str, Any]:
        if self.decided_on is None:
            return {}
        margin_ratio, maintenance = _margin_ratios(self.decided_on)
        told: dict[str, Any] = {
            "margin_ratio": shown(margin_ratio),
            "maintenance_margin_ratio": shown(maintenance),
            "revision": self.decided_on["revision"],
        }
        demands = self._demands()
        if demands is not None:
            told["total_notional"] = shown(sum((each for _, each in demands), Fraction(0)))
            told["least_req_ratio"] = shown(max(self._least(each) for _, each in demands))
        return told

    def claimed_positions(self) -> tuple[tuple[str, str, str, str], ...]:
        positions = []
        for position, ratio in self._claimed():
            quantity = Fraction(position["position_qty"])
            positions.append(
                (
                    position["symbol"],
                    shown(quantity * ratio),
                    shown(quantity * (ratio + self.extra)),
                    shown(abs(quantity * ratio * Fraction(position["mark_price"]))),
                )
            )
        return tuple(positions)


def _notional(position: Json) -> Fraction:
    return abs(Fraction(position["position_qty"]) * Fraction(position["mark_price"]))


def _margin_ratios(liquidation: Json) -> tuple[Fraction, Fraction]:
    if (account := liquidation.get("account")) is None:
        given = liquidation["margin_ratio"], liquidation["maintenance_margin_ratio"]
        return Fraction(given[0]), Fraction(given[1])
    whole = sum(map(_notional, account["positions"]), Fraction(0))
    return Fraction(account["collateral_value"]) / whole, maintenance_margin(account) / whole


def maintenance_margin(account: Json) -> Fraction:
    """Σ |notional| × MMR of an account, in USDC."""
    margin = Fraction(0)
    for position in account["positions"]:
        base_mmr, base_imr = Fraction(position["base_mmr"]), Fraction(position["base_imr"])
        notional = _notional(position)
        power = nearest_four_fifths_power(notional)
        by_size = base_mmr / base_imr * Fraction(position["imr_factor"]) * power
        margin += notional * max(base_mmr, by_size)
    return margin


def initial_margin(account: Json, taken: Mapping[str, Fraction]) -> Fraction:
    """Σ |notional| × IMR of an account in USDC, once it took the quantities of `taken`."""
    margin = Fraction(0)
    for position in account.get("positions", []):
        quantity = Fraction(position["position_qty"]) + taken.get(position["symbol"], 0)
        notional = abs(quantity * Fraction(position["mark_price"]))
        power = nearest_four_fifths_power(notional)
        margin += notional * max(
            1 / Fraction(account["max_leverage"]),
            Fraction(position["base_imr"]),
            Fraction(position["imr_factor"]) * power,
        )
    return margin


def nearest_four_fifths_power(number: Fraction) -> Fraction:
    """number^(4/5) to the nearest number of 50 digits; of two equally near, the even one.

    The first guess has 90 digits. That it is the nearest is then shown by fifth powers.
    """
    if number == 0:
        return Fraction(0)
    wide = Context(prec=400)
    exact = wide.divide(Decimal(number.numerator), Decimal(number.denominator))
    guess = Context(prec=90).power(exact, Decimal("0.8"))
    guess = Context(prec=50, rounding=ROUND_HALF_EVEN).plus(guess)
    exponent = guess.adjusted() - 49
    unit = Fraction(10) ** exponent
    steps = int(Fraction(guess) / unit)
    target = number**4 / unit**5 * 32
    if (2 * steps - 1) ** 5 > target:
        steps -= 1
    elif (2 * steps + 1) ** 5 < target:
        steps += 1
    if (2 * steps + 1) ** 5 == target or (2 * steps - 1) ** 5 == target:
        steps += steps % 2 if (2 * steps + 1) ** 5 == target else -(steps % 2)
    return steps * unit


def _four_digits_up(ratio: Fraction) -> Fraction:
    """`ratio`, from 0 to 1, rounded up to four significant digits."""
    if ratio == 0:
        return ratio
    scale = 0
    while ratio * 10**scale < 1000:
        scale += 1
    scaled = ratio * 10**scale
    return Fraction(-(-scaled.numerator // scaled.denominator), 10**scale)


def shown(number: Fraction) -> str:
    """A number as replies show it: all its decimals if it ends, else 18, half to even."""
    decimals = 0
    rest = number.denominator
    while rest % 10 == 0:
        rest, decimals = rest // 10, decimals + 1
    for prime in (2, 5):
        while rest % prime == 0:
            rest, decimals = rest // prime, decimals + 1
    if rest != 1:
        decimals = 18
    scaled = round(abs(number) * 10**decimals)
    digits = str(scaled).rjust(decimals + 1, "0")
    whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
    text = f"{whole}.{fraction}".rstrip("0").rstrip(".") if fraction else whole
    return f"-{text}" if number < 0 and scaled else text


def _is_well_formed(terms: Json, sent: Json | None, liquidator: Json | None) -> bool:
    named = terms.get("symbols", [])
    limits = terms.get("limit_price", {})
    sound = [
        terms.get("liquidation_id", 0) > 0,
        _is_id(terms.get("liquidator_id", "")),
        len(named) <= 256,
        len(limits) <= 256,
        _are_distinct(named),
        bool(named) != bool(terms.get("ratio_qty_request", "")),
        not terms.get("extra_liquidation_ratio") or _is_decimal(terms["extra_liquidation_ratio"]),
        bool(named) or _is_decimal(terms.get("ratio_qty_request", "")),
        all(_is_decimal(each.get("ratio_qty_request", "")) for each in named),
        all(_is_id(symbol) and _is_decimal(limit) for symbol, limit in limits.items()),
    ]
    if sent is not None:
        sound.append(_is_snapshot(sent))
        sound.append(sent.get("liquidation_id", 0) == terms.get("liquidation_id", 0))
    if liquidator is not None:
        # Choice: the liquidator's account is that of the one who claims.
        sound.append(liquidator.get("liquidator_id", "") == terms.get("liquidator_id", ""))
        account = liquidator.get("account")
        sound.append(account is not None and _is_account(account, of_liquidator=True))
    return all(sound)


def _is_snapshot(sent: Json) -> bool:
    positions = sent.get("positions", [])
    sound = [
        sent.get("liquidation_id", 0) > 0,
        _is_id(sent.get("account_id", "")),
        sent.get("tier") in {"TIER_LOW", "TIER_HIGH"},
        sent.get("revision", 0) >= 1,
        1 <= len(positions) <= 256,
        _are_distinct(positions),
        all(_is_decimal(each.get("position_qty", "")) for each in positions),
        all(_is_positive(each.get("mark_price", "")) for each in positions),
        all(re.search("[1-9]", each.get("position_qty", "")) for each in positions),
    ]
    account = sent.get("account")
    if account is None:
        sound.append(_is_decimal(sent.get("margin_ratio", "")))
        sound.append(_is_positive(sent.get("maintenance_margin_ratio", "")))
    else:
        sound.append(not sent.get("margin_ratio") and not sent.get("maintenance_margin_ratio"))
        sound.append(_is_account(account, of_liquidator=False))
        # Without any quantity there is no margin ratio.
        sound.append(
            any(re.search("[1-9]", each.get("position_qty", "")) for each in _listed(account))
        )
    return all(sound)


def _is_account(account: Json, *, of_liquidator: bool) -> bool:
    positions = _listed(account)
    leverage = account.get("max_leverage", "")
    sound = [
        _is_decimal(account.get("collateral_value", "")),
        # Choice: what no formula needs may be left out.
        _is_positive(leverage) or (not leverage and not of_liquidator),
        len(positions) <= 256,
        _are_distinct(positions),
    ]
    for each in positions:
        base_mmr = each.get("base_mmr", "")
        sound += [
            _is_decimal(each.get("position_qty", "")),
            _is_positive(each.get("mark_price", "")),
            _is_positive(each.get("base_imr", "")),
            _is_positive(base_mmr) or (not base_mmr and of_liquidator),
            _is_decimal(each.get("imr_factor", "")) and Fraction(each["imr_factor"]) >= 0,
        ]
    return all(sound)


def _listed(account: Json) -> list[Json]:
    return list(account.get("positions", []))


def _are_distinct(named: list[Json]) -> bool:
    symbols = [each.get("symbol", "") for each in named]
    return len(set(symbols)) == len(symbols) and all(map(_is_id, symbols))


def _is_id(text: str) -> bool:
    return bool(re.fullmatch("[\x20-\x7e]{1,128}", text))


def _is_decimal(text: str) -> bool:
    return bool(re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", text, re.ASCII))


def _is_positive(text: str) -> bool:
    return _is_decimal(text) and Fraction(text) > 0
