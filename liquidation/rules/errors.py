"""The error catalogue: the exchange's table, word for word, and the service's own words.

ErrorCode, HTTP status, name, message and gRPC code of every refusal live here and nowhere else. The
status details, the REST payload, `ListErrorCodes` and docs/reference/errors.md derive from it.

"Codes are universal, messages can vary": a case that the exchange's table has no row for uses the
code that fits, in a row of its own (`OWN_WORDS`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from string import Formatter
from typing import Final


class GrpcCode(IntEnum):
    """The canonical gRPC codes that a refusal may travel with; values as in google.rpc.Code."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Detail(Enum):
    """The kinds of google.rpc error details that a code carries beside ErrorInfo."""

    BAD_REQUEST = "BadRequest"
    PRECONDITION_FAILURE = "PreconditionFailure"
    RETRY_INFO = "RetryInfo"


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code of the exchange's REST API, shared by one or more rows of its table."""

    code: int
    http_status: int
    name: str
    detail: Detail | None = None


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One row: a code, its words and how they travel.

    `message` is the table's text. `template` is the same text with named placeholders where a
    refusal fills in its own numbers; where it is absent the message stands as it is.
    """

    kind: ErrorCode
    grpc: GrpcCode
    message: str
    when: str
    template: str | None = None

    @property
    def emitted(self) -> bool:
        """Whether this service ever answers with it."""
        return self.when != _NEVER

    @property
    def code(self) -> int:
        """The exchange's code, such as -1201."""
        return self.kind.code

    @property
    def placeholders(self) -> frozenset[str]:
        """The names of the numbers that stand in the message."""
        parsed = Formatter().parse(self.template or "")
        return frozenset(name for _, name, _, _ in parsed if name is not None)

    def render(self, values: Mapping[str, str]) -> str:
        """The words with numbers filled in.

        Raises:
            KeyError: a placeholder of the template is not among `values`.
        """
        return self.message if self.template is None else self.template.format_map(values)


UNKNOWN: Final = ErrorCode(-1000, 500, "UNKNOWN")
INVALID_SIGNATURE: Final = ErrorCode(-1001, 401, "INVALID_SIGNATURE")
UNAUTHORIZED: Final = ErrorCode(-1002, 401, "UNAUTHORIZED")
TOO_MANY_REQUEST: Final = ErrorCode(-1003, 429, "TOO_MANY_REQUEST", Detail.RETRY_INFO)
UNKNOWN_PARAM: Final = ErrorCode(-1004, 400, "UNKNOWN_PARAM", Detail.BAD_REQUEST)
INVALID_PARAM: Final = ErrorCode(-1005, 400, "INVALID_PARAM", Detail.BAD_REQUEST)
RESOURCE_NOT_FOUND: Final = ErrorCode(-1006, 400, "RESOURCE_NOT_FOUND")
DUPLICATE_REQUEST: Final = ErrorCode(-1007, 409, "DUPLICATE_REQUEST")
QUANTITY_TOO_HIGH: Final = ErrorCode(-1008, 400, "QUANTITY_TOO_HIGH")
CAN_NOT_WITHDRAWAL: Final = ErrorCode(-1009, 400, "CAN_NOT_WITHDRAWAL")
RPC_NOT_CONNECT: Final = ErrorCode(-1011, 400, "RPC_NOT_CONNECT", Detail.RETRY_INFO)
RPC_REJECT: Final = ErrorCode(-1012, 400, "RPC_REJECT", Detail.RETRY_INFO)
RISK_TOO_HIGH: Final = ErrorCode(-1101, 400, "RISK_TOO_HIGH", Detail.PRECONDITION_FAILURE)
MIN_NOTIONAL: Final = ErrorCode(-1102, 400, "MIN_NOTIONAL")
PRICE_FILTER: Final = ErrorCode(-1103, 400, "PRICE_FILTER", Detail.PRECONDITION_FAILURE)
SIZE_FILTER: Final = ErrorCode(-1104, 400, "SIZE_FILTER")
PERCENTAGE_FILTER: Final = ErrorCode(-1105, 400, "PERCENTAGE_FILTER")
LIQUIDATION_REQUEST_RATIO_TOO_SMALL: Final = ErrorCode(
    -1201, 400, "LIQUIDATION_REQUEST_RATIO_TOO_SMALL", Detail.PRECONDITION_FAILURE
)
LIQUIDATION_STATUS_ERROR: Final = ErrorCode(
    -1202, 400, "LIQUIDATION_STATUS_ERROR", Detail.PRECONDITION_FAILURE
)

_NEVER: Final = "Never: this service has no such case."

UNKNOWN_ERROR: Final = ErrorRow(
    UNKNOWN,
    GrpcCode.INTERNAL,
    "An unknown error occurred while processing the request.",
    "A fault of the service itself; the log has the traceback under the same decision_id.",
)
DATA_DOES_NOT_EXIST: Final = ErrorRow(UNKNOWN, GrpcCode.INTERNAL, "The data does not exist", _NEVER)
MALFORMED_KEY: Final = ErrorRow(
    INVALID_SIGNATURE,
    GrpcCode.UNAUTHENTICATED,
    "The api key or secret is in wrong format.",
    "API keys are on, and what the call carries is no key by its form.",
)
KEY_REFUSED: Final = ErrorRow(
    UNAUTHORIZED,
    GrpcCode.UNAUTHENTICATED,
    "API key or secret is invalid, it may be because key have insufficient permission "
    "or the key is expired/revoked.",
    "API keys are on, and the call carries none, or one that is unknown, expired or revoked.",
)
RATE_LIMIT_EXCEEDED: Final = ErrorRow(
    TOO_MANY_REQUEST,
    GrpcCode.RESOURCE_EXHAUSTED,
    "Rate limit exceed.",
    "More calls are in progress than the server takes at once (limits.max_concurrent_calls), or a "
    "liquidator asks more often than it may (limits.liquidator_requests_per_second).",
)
UNKNOWN_PARAMETER: Final = ErrorRow(
    UNKNOWN_PARAM,
    GrpcCode.INVALID_ARGUMENT,
    "An unknown parameter was sent.",
    "The request holds a field that the service does not know, at any depth.",
)
WRONG_FORMAT: Final = ErrorRow(
    INVALID_PARAM,
    GrpcCode.INVALID_ARGUMENT,
    "Some parameters are in wrong format for api.",
    "A number, an id, a size or a combination of fields is not of the form the API allows.",
)
RATIO_OUT_OF_RANGE: Final = ErrorRow(
    INVALID_PARAM,
    GrpcCode.INVALID_ARGUMENT,
    "ratio_qty_request should be in range 0-1.",
    "A ratio in the terms is below 0 or above 1.",
)
EXTRA_OUT_OF_RANGE: Final = ErrorRow(
    INVALID_PARAM,
    GrpcCode.INVALID_ARGUMENT,
    "extra_liquidation_ratio should be in range 0-1.",
    "extra_liquidation_ratio is below 0 or above 1.",
)
EXTRA_NEEDS_FULL_RATIO: Final = ErrorRow(
    INVALID_PARAM,
    GrpcCode.INVALID_ARGUMENT,
    "if you set extra_liquidation_ratio > 0, ratio_qty_request must be 1.",
    "extra_liquidation_ratio is above 0 and a ratio is not 1.",
)
NOT_FOUND_IN_SERVER: Final = ErrorRow(
    RESOURCE_NOT_FOUND,
    GrpcCode.NOT_FOUND,
    "The data is not found in server. For example, when client try canceling a CANCELLED order, "
    "will raise this error.",
    "No claim of that claim_id or request_id is known.",
)
DUPLICATED: Final = ErrorRow(
    DUPLICATE_REQUEST,
    GrpcCode.ALREADY_EXISTS,
    "The data is already exists or your request is duplicated.",
    "The request_id was used before with other terms.",
)
SETTLEMENT_TOO_HIGH: Final = ErrorRow(
    QUANTITY_TOO_HIGH,
    GrpcCode.OUT_OF_RANGE,
    "The quantity of settlement is too high than you can request.",
    _NEVER,
)
ARREARS_FIRST: Final = ErrorRow(
    CAN_NOT_WITHDRAWAL,
    GrpcCode.FAILED_PRECONDITION,
    "Can not request withdrawal settlement, you need to deposit other arrears first.",
    _NEVER,
)
STORE_NOT_REACHED: Final = ErrorRow(
    RPC_NOT_CONNECT,
    GrpcCode.UNAVAILABLE,
    "Can not place/cancel orders, it may be because internal network error. "
    "Please try again in a few seconds.",
    "The store cannot be reached or did not answer in time.",
)
LIQUIDATOR_IN_LIQUIDATION: Final = ErrorRow(
    RPC_REJECT,
    GrpcCode.ABORTED,
    "The place/cancel order request is rejected by internal module, it may because the account "
    "is in liquidation or other internal errors. Please try again in a few seconds.",
    "The liquidator is the liquidated account itself, or has an open liquidation of its own.",
)
ANOTHER_IN_PROCESS: Final = ErrorRow(
    RPC_REJECT,
    GrpcCode.ABORTED,
    "Another liquidation is in process",
    "A claim on the account is active, or its positions are not refreshed since the last one.",
)
EXPOSURE_TOO_HIGH: Final = ErrorRow(
    RISK_TOO_HIGH,
    GrpcCode.FAILED_PRECONDITION,
    "The risk exposure for client is too high, it may cause by sending too big order or the "
    "leverage is too low. please refer to client info to check the current exposure.",
    _NEVER,
)
MARGIN_INSUFFICIENT: Final = ErrorRow(
    RISK_TOO_HIGH,
    GrpcCode.FAILED_PRECONDITION,
    "The margin will be insufficient after.",
    "After the claim the liquidator's initial margin would exceed its collateral.",
)
ORDER_VALUE_TOO_SMALL: Final = ErrorRow(
    MIN_NOTIONAL,
    GrpcCode.FAILED_PRECONDITION,
    "The order value (price * size) is too small.",
    _NEVER,
)
LIMIT_PRICE_CROSSED: Final = ErrorRow(
    PRICE_FILTER,
    GrpcCode.FAILED_PRECONDITION,
    "The order price is not following the scope or range rules.",
    "The mark price of a claimed long is above its limit_price, or of a short below it.",
)
STEP_SIZE: Final = ErrorRow(
    SIZE_FILTER,
    GrpcCode.FAILED_PRECONDITION,
    "The order quantity is not following the step size rule for the symbol.",
    _NEVER,
)
PERCENTAGE: Final = ErrorRow(
    PERCENTAGE_FILTER,
    GrpcCode.FAILED_PRECONDITION,
    "Price is X% too high or X% too low from the mid price.",
    _NEVER,
)
TOTAL_BELOW_THRESHOLD: Final = ErrorRow(
    LIQUIDATION_REQUEST_RATIO_TOO_SMALL,
    GrpcCode.FAILED_PRECONDITION,
    "total notional < 10000, least req ratio should = 1",
    "The notional is below the tier's threshold and the ratio is not 1.",
    template="total notional < {min_claim_notional}, least req ratio should = {least_req_ratio}",
)
RATIO_TOO_SMALL: Final = ErrorRow(
    LIQUIDATION_REQUEST_RATIO_TOO_SMALL,
    GrpcCode.FAILED_PRECONDITION,
    "least req ratio should = xxxx",
    "ratio × notional is below the tier's threshold.",
    template="least req ratio should = {least_req_ratio}",
)
MARGIN_IS_ENOUGH: Final = ErrorRow(
    LIQUIDATION_STATUS_ERROR,
    GrpcCode.FAILED_PRECONDITION,
    "No need to liquidation because user margin is enough.",
    "The margin ratio is not below the maintenance margin ratio.",
)
LIQUIDATION_NOT_FOUND: Final = ErrorRow(
    LIQUIDATION_STATUS_ERROR,
    GrpcCode.NOT_FOUND,
    "Can not find given liquidationId.",
    "No open liquidation of that id (and account) is known.",
)

# The exchange's table, in its order.
TABLE: Final[tuple[ErrorRow, ...]] = (
    UNKNOWN_ERROR,
    DATA_DOES_NOT_EXIST,
    MALFORMED_KEY,
    KEY_REFUSED,
    RATE_LIMIT_EXCEEDED,
    UNKNOWN_PARAMETER,
    WRONG_FORMAT,
    RATIO_OUT_OF_RANGE,
    EXTRA_OUT_OF_RANGE,
    EXTRA_NEEDS_FULL_RATIO,
    NOT_FOUND_IN_SERVER,
    DUPLICATED,
    SETTLEMENT_TOO_HIGH,
    ARREARS_FIRST,
    STORE_NOT_REACHED,
    LIQUIDATOR_IN_LIQUIDATION,
    ANOTHER_IN_PROCESS,
    EXPOSURE_TOO_HIGH,
    MARGIN_INSUFFICIENT,
    ORDER_VALUE_TOO_SMALL,
    LIMIT_PRICE_CROSSED,
    STEP_SIZE,
    PERCENTAGE,
    TOTAL_BELOW_THRESHOLD,
    RATIO_TOO_SMALL,
    MARGIN_IS_ENOUGH,
    LIQUIDATION_NOT_FOUND,
)

KEY_LACKS_PERMISSION: Final = replace(
    KEY_REFUSED,
    grpc=GrpcCode.PERMISSION_DENIED,
    when="API keys are on, and the key is a good one without the permission that the call needs. "
    "The words are the table's, the gRPC code is another.",
)
CALL_ABANDONED: Final = ErrorRow(
    RPC_NOT_CONNECT,
    GrpcCode.UNAVAILABLE,
    "The call was cancelled or its deadline passed before it was decided.",
    "The caller went away; only the log shows it.",
)

CLAIM_ENDED: Final = ErrorRow(
    LIQUIDATION_STATUS_ERROR,
    GrpcCode.FAILED_PRECONDITION,
    "The claim is not active: it is expired.",
    "A claim that was completed, cancelled or expired is renewed, completed or cancelled.",
    template="The claim is not active: it is {state}.",
)
OTHER_TOKEN: Final = ErrorRow(
    LIQUIDATION_STATUS_ERROR,
    GrpcCode.FAILED_PRECONDITION,
    "The fencing token is not that of the claim.",
    "A claim is renewed, completed or cancelled with another fencing token than its own.",
)

# Rows of the service's own, for cases that the exchange's table has no row for: other words, or
# the table's under another gRPC code.
OWN_WORDS: Final[tuple[ErrorRow, ...]] = (
    KEY_LACKS_PERMISSION,
    CALL_ABANDONED,
    CLAIM_ENDED,
    OTHER_TOKEN,
)
