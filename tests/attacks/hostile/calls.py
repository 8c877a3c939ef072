"""Calls that attackers make, as bytes."""

from typing import Final

from liquidation.v1 import rules_service_pb2
from tests import samples
from tests.attacks.hostile.wire import message

_RULES: Final = "/liquidation.v1.LiquidationRulesService"
CHECK: Final = f"{_RULES}/CheckClaim"
BATCH: Final = f"{_RULES}/BatchCheckClaims"
BEGIN_CLAIM: Final = "/liquidation.v1.ClaimService/BeginClaim"
STREAM: Final = f"{_RULES}/StreamCheckClaims"

_CLAIM = samples.check(samples.low_request())
CLAIM: Final = message(_CLAIM.SerializeToString())
ITEM: Final = message(
    rules_service_pb2.StreamCheckClaimsRequest(request=_CLAIM).SerializeToString()
)
# Some 4 KB whose answer is some 3 MB: each empty item is told what it lacks, rule by rule.
LARGE_ANSWER: Final = message(
    rules_service_pb2.BatchCheckClaimsRequest(
        requests=[rules_service_pb2.CheckClaimRequest(explain=True)] * 1000
    ).SerializeToString()
)
