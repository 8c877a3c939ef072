"""Lanes of claims on one account: granted, renewed, ended, asked for, in any order."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

from google.protobuf.message import Message

from liquidation.v1 import claim_service_pb2 as pb
from liquidation.v1 import liquidation_service_pb2, rules_service_pb2
from tests.attacks.differential.calls import FAR, Call, Fill, Json, Lane
from tests.attacks.differential.drawing.lanes import call, plain_begin
from tests.attacks.differential.drawing.malformed import spoiled, with_unknown_field
from tests.attacks.oracle.drawing import chance
from tests.attacks.oracle.worlds import Subject

# Long ones, so that none runs out because the machine is slow, and such as are refused.
_LEASES: Final[tuple[Json, ...]] = (
    *({"seconds": 300}, {"seconds": 299, "nanos": 999_999_999}, {"seconds": 298}) * 3,
    {},
    {"nanos": 999_999_999},
    {"seconds": 300, "nanos": 1},
    {"seconds": -1},
    {"seconds": 100, "nanos": -1},
    {"seconds": 100, "nanos": 10**9},
    {"seconds": 10**12},
)
_REASONS: Final = ("", "venue is down", "ü" * 30, "x" * 3000, "a\nb", "\x00", " ", "x" * 512)
_REQUEST_IDS: Final = ("", "a{:063}", "a{:064}", " {}", "{} ", "ü{}", "tab{}\t")
# No claim is in the last two.
_STATES: Final[tuple[Any, ...]] = (1, 2, 3, 4, 5, -1)
_PAGE_SIZES: Final = (0, 1, 2, 3, 1000, 1001, -1)
_TOKENS: Final = (
    "",
    "x",
    "YmVsb3c6LTE=",
    "YWZ0ZXI6MQ==",
    "YmVsb3c6MQ",
    "ü",
    "YmVsb3c6MQ==",
    "====",
)


class _Account:
    """What a lane has asked of its account so far. Calls are kept in the order they are made."""

    def __init__(self, random: Random, number: int) -> None:
        self.random = random
        self.number = number
        self.calls: list[Call] = []
        self.begins: list[int] = []
        self.pages: list[int] = []
        self.requests: list[Message] = []
        self.revision = 1
        self.subject = Subject(f"account-{number}", number * 1000, 1, None)

    def add(self, name: str, message: Message, *fills: Fill, **more: Any) -> None:
        random = self.random
        if not fills and not more and chance(random, 30):
            message = with_unknown_field(random, message)
        made = call(name, message, *fills, **more)
        if not fills and not more and chance(random, 60):
            made = Call(made.path, (spoiled(random, made.messages[0]),))
        self.calls.append(made)

    def claim(self, *, token: bool = True) -> tuple[Fill, ...]:
        """Which claim is meant: mostly the last one, with its own token."""
        random = self.random
        if not self.begins or chance(random, 10):
            return ()
        place = self.begins[-1] if random.randrange(3) else random.choice(self.begins)
        change = FAR if chance(random, 10) else 0
        other = random.choice(self.begins) if chance(random, 10) else place
        fills = (Fill("claim_id", place), Fill("fencing_token", other, change))
        return fills if token else fills[:1]

    def lease(self) -> Json:
        return {"lease_ttl": self.random.choice(_LEASES)}


def _begin(account: _Account) -> None:
    random = account.random
    if account.requests and chance(random, 4):
        message = random.choice(account.requests)
    else:
        account.revision += random.choice((0, 0, 1, 1, 1, -1))
        request_id = f"r{random.randrange(6)}-{len(account.calls)}"
        if chance(random, 4):
            request_id = f"r{random.randrange(3)}"
        message = plain_begin(account.subject, account.revision, request_id, **account.lease())
        _vary(random, account.number, message)
        account.requests.append(message)
    account.begins.append(len(account.calls))
    account.add("ClaimService.BeginClaim", message)


def _vary(random: Random, number: int, message: Any) -> None:
    kind = random.randrange(14)
    if kind == 0:
        message.request_id = random.choice(_REQUEST_IDS).format(number)
    elif kind == 1:
        message.ClearField("liquidation")
    elif kind == 2:
        message.terms.extra_liquidation_ratio = "0.05"
    elif kind == 3:
        message.terms.ratio_qty_request = random.choice(("0.5", "1.5", "x", "1.000"))
    elif kind == 4:
        message.terms.liquidator_id = message.liquidation.account_id
    elif kind == 5:
        message.terms.limit_price["PERP_BTC_USDC"] = random.choice(("0.5", "1", "2"))
    elif kind == 6:
        message.liquidation.margin_ratio = random.choice(("1", "2", ""))


def _renew(account: _Account) -> None:
    message = pb.RenewClaimRequest(claim_id="no-such-claim", **account.lease())
    account.add("ClaimService.RenewClaim", message, *account.claim())


def _complete(account: _Account) -> None:
    message = pb.CompleteClaimRequest(claim_id=account.random.choice(("", "no-such-claim")))
    account.add("ClaimService.CompleteClaim", message, *account.claim())


def _cancel(account: _Account) -> None:
    random = account.random
    message = pb.CancelClaimRequest(
        claim_id="no-such-claim", reason=random.choice(_REASONS), force=chance(random, 4)
    )
    fills = account.claim(token=not (message.force and random.randrange(3)))
    account.add("ClaimService.CancelClaim", message, *fills)


def _get(account: _Account) -> None:
    random, message = account.random, pb.GetClaimRequest()
    fills: tuple[Fill, ...] = account.claim(token=False)
    if chance(random, 3) and account.requests:
        message.request_id = getattr(random.choice(account.requests), "request_id", "")
        fills = fills if chance(random, 5) else ()
    elif chance(random, 5):
        message.claim_id = random.choice(("no-such-claim", "ü", "a" * 200))
        fills = ()
    account.add("ClaimService.GetClaim", message, *fills)


def _list(account: _Account) -> None:
    random, subject = account.random, account.subject
    message = pb.ListClaimsRequest(account_id=subject.account_id)
    if chance(random, 3):
        message = pb.ListClaimsRequest(liquidation_id=subject.liquidation_id + 1)
    if chance(random, 3):
        message.MergeFrom(pb.ListClaimsRequest(state=random.choice(_STATES)))
    message.page_size = random.choice(_PAGE_SIZES)
    fills: tuple[Fill, ...] = ()
    if account.pages and random.randrange(2):
        fills = (Fill("page_token", account.pages[-1], int(chance(random, 6))),)
    elif chance(random, 4):
        message.page_token = random.choice(_TOKENS)
    account.pages.append(len(account.calls))
    account.add("ClaimService.ListClaims", message, *fills)


def _put(account: _Account) -> None:
    account.revision += account.random.choice((0, 1, 1, 5))
    begin: Any = plain_begin(account.subject, account.revision, "unused")
    put = liquidation_service_pb2.PutLiquidationRequest(liquidation=begin.liquidation)
    account.add("LiquidationService.PutLiquidation", put)


def _close(account: _Account) -> None:
    close = liquidation_service_pb2.CloseLiquidationRequest(
        liquidation_id=account.subject.liquidation_id + account.random.choice((1, 1, 1, 2))
    )
    account.add("LiquidationService.CloseLiquidation", close)
    if chance(account.random, 2):
        liquidation_id = account.subject.liquidation_id + 100 + len(account.calls)
        subject = account.subject
        account.subject = Subject(subject.account_id, liquidation_id, 1, None)


def _check(account: _Account) -> None:
    begin: Any = plain_begin(account.subject, account.revision, "unused")
    check = rules_service_pb2.CheckClaimRequest(
        terms=begin.terms, explain=bool(account.random.randrange(2))
    )
    if account.random.randrange(2):
        check.liquidation.CopyFrom(begin.liquidation)
    account.add("LiquidationRulesService.CheckClaim", check)


_OPERATIONS: Final[tuple[Callable[[_Account], None], ...]] = (
    *(_begin,) * 8, *(_renew,) * 4, *(_complete,) * 3, *(_cancel,) * 4, *(_get,) * 4,
    *(_list,) * 4, *(_put,) * 5, _close, *(_check,) * 2,
)  # fmt: skip


def claims_lane(random: Random, number: int, calls: int) -> Lane:
    """A lane of so many calls about one account, one after the other."""
    account = _Account(random, number)
    for _ in range(calls):
        random.choice(_OPERATIONS)(account)
    return Lane([[each] for each in account.calls])


def expiring_lane(random: Random, number: int) -> Lane:
    """A lane in which a lease of one second runs out, and what may be asked of the claim then."""
    account = _Account(random, number)
    account.begins.append(0)
    short = plain_begin(account.subject, 1, "short", lease_ttl={"seconds": 1})
    fills = (Fill("claim_id", 0), Fill("fencing_token", 0))
    get = pb.GetClaimRequest()
    calls = [
        call("ClaimService.BeginClaim", short),
        call("ClaimService.GetClaim", get, fills[0], until_ended=True),
        call("ClaimService.RenewClaim", pb.RenewClaimRequest(), *fills),
        call("ClaimService.CompleteClaim", pb.CompleteClaimRequest(), *fills),
        call("ClaimService.CancelClaim", pb.CancelClaimRequest(force=True), fills[0]),
        call("ClaimService.BeginClaim", short),
        call("ClaimService.BeginClaim", plain_begin(account.subject, 1, "again")),
        call("ClaimService.ListClaims", pb.ListClaimsRequest(account_id=f"account-{number}")),
    ]
    return Lane([[each] for each in calls])
