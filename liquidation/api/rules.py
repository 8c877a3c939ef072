"""What the service tells of itself: its table of errors, and the rules in force."""

from collections.abc import Callable, Mapping
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from liquidation.api.calls import PlainCalls
from liquidation.api.status import error_codes
from liquidation.decisionlog.entry import CallInfo
from liquidation.rules.model import Tier
from liquidation.rules.numbers import plain
from liquidation.rules.policy import RULE_NAMES, Mode, Policy
from liquidation.transport.base import Call, Handler
from liquidation.v1 import rules_service_pb2 as pb

_MODES: Final = {
    Mode.ENFORCE: pb.RULE_MODE_ENFORCE,
    Mode.SHADOW: pb.RULE_MODE_SHADOW,
    Mode.OFF: pb.RULE_MODE_OFF,
}


def rules_handlers(in_force: Callable[[], Policy], calls: PlainCalls) -> Mapping[str, Handler]:
    """The handlers of LiquidationRulesService that decide nothing."""

    def get_rules(_: pb.GetRulesRequest, __: CallInfo, ___: Call) -> Message:
        return rules_in_force(in_force())

    return {
        "ListErrorCodes": calls.unary("ListErrorCodes", pb.ListErrorCodesRequest, _error_codes),
        "GetRules": calls.unary("GetRules", pb.GetRulesRequest, get_rules),
    }


def _error_codes(_: pb.ListErrorCodesRequest, __: CallInfo, ___: Call) -> Message:
    return error_codes()


def rules_in_force(policy: Policy) -> pb.GetRulesResponse:
    """The policy as it is told: every rule with its mode, thresholds and limits."""
    return pb.GetRulesResponse(
        version=policy.version,
        tiers=[
            pb.TierRules(
                tier=f"TIER_{tier.name}",
                min_claim_notional=plain(policy.min_claim_notional[tier]),
            )
            for tier in Tier
        ],
        rules=[pb.RuleInForce(rule=name, mode=_MODES[policy.mode(name)]) for name in RULE_NAMES],
        default_lease_ttl=Duration(seconds=policy.claims.default_lease_ttl_s),
        claim_retention=Duration(seconds=policy.claims.retention_s),
        max_request_bytes=policy.limits.max_request_bytes,
        max_concurrent_calls=policy.limits.max_concurrent_calls,
        liquidator_requests_per_second=policy.limits.liquidator_requests_per_second,
    )
