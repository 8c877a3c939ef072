"""The clients, each as a program of its own, and what they print brought into one form."""

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from tests.attacks.interop.questions import Json, Question

GRPCURL: Final = Path(sys.executable).parent / "grpcurl"
BUF: Final = Path(sys.executable).parent / "buf"
_PATIENCE_S: Final = 60
# What no two calls have in common; that it is there is looked at.
_OWN: Final = {"decision_id", "claim_id", "fencing_token", "begin_time", "expire_time"}


@dataclass(frozen=True)
class Place:
    """Where a server is asked; `tls` are its authority, and the caller's certificate and key."""

    target: str
    tls: tuple[Path, ...] = ()

    @property
    def socket(self) -> str:
        """The path of a Unix socket; "" for an address."""
        return self.target.removeprefix("unix:") if self.target.startswith("unix:") else ""


@dataclass(frozen=True)
class Answer:
    """How a call ended, as google.rpc.Status, and what came before."""

    status: Json
    answers: list[Json]


class Client(Protocol):
    """Asks in an order and tells what it got, with the API keys by their names."""

    def ask(
        self, place: Place, questions: Sequence[Question], keys: Mapping[str, str]
    ) -> list[Answer]: ...


@dataclass(frozen=True)
class Program:
    """A client written for this: ask.mjs on Node, or ask.cc."""

    command: tuple[str | Path, ...]

    def ask(
        self, place: Place, questions: Sequence[Question], keys: Mapping[str, str]
    ) -> list[Answer]:
        lines = "".join(
            json.dumps(
                {"method": each.method, "key": keys.get(each.key, ""), "requests": each.requests}
            )
            + "\n"
            for each in questions
        )
        done = _run([*self.command, place.target, *place.tls], lines)
        assert done.returncode == 0, done.stderr
        told = [json.loads(line) for line in done.stdout.splitlines()]
        return [
            Answer(_status(_said_twice(each["status"])), _answers(asked, each["answers"]))
            for asked, each in zip(questions, told, strict=True)
        ]


@dataclass(frozen=True)
class _CommandLine(ABC):
    """A client that asks one question a run, by reflection or with a descriptor set."""

    schema: Path | None = None

    def ask(
        self, place: Place, questions: Sequence[Question], keys: Mapping[str, str]
    ) -> list[Answer]:
        return [self._one(place, each, keys.get(each.key, "")) for each in questions]

    def _one(self, place: Place, question: Question, key: str) -> Answer:
        header = ["-H", f"authorization: Bearer {key}"] if key else []
        command = self._command(place, question.method, header)
        done = _run(command, "\n".join(map(json.dumps, question.requests)))
        status, code = self._ended(json.loads(done.stderr)) if done.returncode else ({}, 0)
        assert done.returncode == code, done.stderr
        return Answer(_status(status), _answers(question, _documents(done.stdout)))

    @abstractmethod
    def _command(self, place: Place, method: str, header: list[str]) -> list[str | Path]: ...

    @abstractmethod
    def _ended(self, told: Json) -> tuple[Json, int]:
        """The status that standard error tells, and the exit code that goes with it."""


class Grpcurl(_CommandLine):
    """grpcurl."""

    def _command(self, place: Place, method: str, header: list[str]) -> list[str | Path]:
        where = ["-unix=true"] if place.socket else []
        where += _flags("-cacert", "-cert", "-key", values=place.tls) or ["-plaintext"]
        schema = ["-protoset", str(self.schema)] if self.schema else []
        target = place.socket or place.target
        return [GRPCURL, *where, *schema, *header, "-format-error", "-d", "@", target, method]

    def _ended(self, told: Json) -> tuple[Json, int]:
        return told, 64 + told["code"]


class Buf(_CommandLine):
    """`buf curl`."""

    def _command(self, place: Place, method: str, header: list[str]) -> list[str | Path]:
        where = ["--unix-socket", place.socket] if place.socket else []
        where += _flags("--cacert", "--cert", "--key", values=place.tls) or [
            "--http2-prior-knowledge"
        ]
        schema = ["--schema", str(self.schema)] if self.schema else []
        host = "localhost" if place.socket else place.target
        url = f"http{'s' * bool(place.tls)}://{host}/{method}"
        return [BUF, "curl", "--protocol", "grpc", *where, *schema, *header, "-d", "@-", url]

    def _ended(self, told: Json) -> tuple[Json, int]:
        status = _status_of_buf(told)
        # As far as an exit code goes.
        return status, 8 * status["code"] % 256


def _flags(*names: str, values: tuple[Path, ...]) -> list[str]:
    """Each name before its value; nothing where there are no values."""
    return [text for each in zip(names, values, strict=False) for text in map(str, each)]


def _run(command: Sequence[str | Path], told: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=told, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
    )


def _said_twice(status: Json) -> Json:
    """A status whose code and words gRPC itself and the trailer tell alike."""
    code, message = status.pop("told_code", None), status.pop("told_message", None)
    assert code in (None, status.get("code")), f"the trailer says {code}"
    assert message in (None, status.get("message")), f"the trailer says {message}"
    return {name: each for name, each in status.items() if each not in (0, "OK", "")}


def _status_of_buf(told: Json) -> Json:
    """The code is a word there, and each detail the base64 of its message."""
    details = []
    for each in told["details"]:
        message = message_factory.GetMessageClass(
            descriptor_pool.Default().FindMessageTypeByName(each["type"])
        )
        packed = message.FromString(b64decode(each["value"] + "=="))
        fields = MessageToDict(packed, preserving_proto_field_name=True)
        details.append({"@type": f"type.googleapis.com/{each['type']}", **fields})
    code = grpc.StatusCode[told["code"].upper()].value[0]
    return {"code": code, "message": told["message"], "details": details}


def _documents(text: str) -> Iterator[Json]:
    """JSON documents that follow each other."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:]


def _status(told: Json) -> Json:
    return _canonical(status_pb2.Status(), told)


def _answers(question: Question, told: Iterator[Json] | list[Json]) -> list[Json]:
    method = descriptor_pool.Default().FindMethodByName(question.method.replace("/", "."))
    message = message_factory.GetMessageClass(method.output_type)
    return [_canonical(message(), each) for each in told]


def _canonical(message: Message, told: Json) -> Json:
    """`told` by the types of its fields: whatever does not fit them is an error."""
    ParseDict(_in_seconds(told), message)
    canonical: Json = _without_own(MessageToDict(message, preserving_proto_field_name=True))
    return canonical


def _in_seconds(told: Any, name: str = "") -> Any:
    """Times and spans as texts, also where a client has them as messages."""
    if isinstance(told, list):
        return [_in_seconds(each) for each in told]
    if not isinstance(told, dict):
        return told
    if told and told.keys() <= {"seconds", "nanos"}:
        kind = Timestamp if name.endswith("_time") else Duration
        fields = {field: int(each) for field, each in told.items()}
        return kind(**fields).ToJsonString()
    return {field: _in_seconds(each, field) for field, each in told.items()}


def _without_own(told: Any) -> Any:
    if isinstance(told, list):
        return [_without_own(each) for each in told]
    if not isinstance(told, dict):
        return told
    assert all(told[name] for name in _OWN & told.keys())
    return {
        name: _without_own(_rounded(each) if name == "retry_delay" else each)
        for name, each in told.items()
        if name not in _OWN
    }


def _rounded(delay: str) -> str:
    """What is left of a lease differs from call to call."""
    seconds = float(delay.removesuffix("s"))
    return delay if seconds == 1 or not 1 < seconds <= 30 else "up to 30s"
