"""The operations of the protocol over its two HTTP bindings, and what an agent answered, in the same words for both."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from compliance.engines.http.client import HttpClient
from compliance.engines.http.exchange import Exchange, Headers
from compliance.engines.http.jsonrpc import error_of, message_of, read_json, wrong_at

JSONRPC = "JSONRPC"
HTTP_JSON = "HTTP+JSON"

# Error names of the specification, with their code over JSON-RPC and their status over HTTP.
ERRORS: dict[str, tuple[int, int]] = {
    "TASK_NOT_FOUND": (-32001, 404),
    "TASK_NOT_CANCELABLE": (-32002, 400),
    "PUSH_NOTIFICATION_NOT_SUPPORTED": (-32003, 400),
    "UNSUPPORTED_OPERATION": (-32004, 400),
    "CONTENT_TYPE_NOT_SUPPORTED": (-32005, 400),
    "INVALID_AGENT_RESPONSE": (-32006, 500),
    "EXTENDED_AGENT_CARD_NOT_CONFIGURED": (-32007, 400),
    "EXTENSION_SUPPORT_REQUIRED": (-32008, 400),
    "VERSION_NOT_SUPPORTED": (-32009, 400),
    "INVALID_PARAMS": (-32602, 400),
}
_BY_CODE = {code: name for name, (code, _) in ERRORS.items()}
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"

_PATHS = {
    "SendMessage": ("POST", "/message:send"),
    "SendStreamingMessage": ("POST", "/message:stream"),
    "GetTask": ("GET", "/tasks/{id}"),
    "ListTasks": ("GET", "/tasks"),
    "CancelTask": ("POST", "/tasks/{id}:cancel"),
    "SubscribeToTask": ("POST", "/tasks/{id}:subscribe"),
    "CreateTaskPushNotificationConfig": ("POST", "/tasks/{taskId}/pushNotificationConfigs"),
    "GetTaskPushNotificationConfig": ("GET", "/tasks/{taskId}/pushNotificationConfigs/{id}"),
    "ListTaskPushNotificationConfigs": ("GET", "/tasks/{taskId}/pushNotificationConfigs"),
    "DeleteTaskPushNotificationConfig": ("DELETE", "/tasks/{taskId}/pushNotificationConfigs/{id}"),
    "GetExtendedAgentCard": ("GET", "/extendedAgentCard"),
}
# What versions before 1.0 call them over JSON-RPC; over HTTP they are below /v1.
_OLD_NAMES = {
    "SendMessage": "message/send",
    "GetTask": "tasks/get",
    "CancelTask": "tasks/cancel",
    "SubscribeToTask": "tasks/resubscribe",
    "GetTaskPushNotificationConfig": "tasks/pushNotificationConfig/get",
}
_STATUS = "/response/status"
_STREAMS = ("SendStreamingMessage", "SubscribeToTask")


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface that a card declares."""

    number: int  # its place in the card, from 0
    url: str
    binding: str
    version: str
    tenant: str = ""

    @property
    def is_old(self) -> bool:
        return self.version.startswith("0.")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one operation: a result, an error, or neither and why."""

    exchange: Exchange
    result: Any = None
    has_result: bool = False
    error: str = ""  # the error's name in the specification; "" for another error, or none
    code: Any = None  # of the error, as the binding says it: a number of JSON-RPC, a status of HTTP
    text: str = ""  # of the error
    wrong: str = ""  # why there is neither, in words
    over_http: bool = False  # in the binding HTTP+JSON
    root: str = ""  # where the result or the error is, as a JSON pointer into the exchange's evidence

    @property
    def wants_credential(self) -> bool:
        return self.exchange.is_locked

    @property
    def speaks(self) -> bool:
        """Whether what is not right is of the binding all the same: what is wrong, other checks say."""
        value = read_json(bytes(self.exchange.body)).value
        return isinstance(value, dict) and (self.over_http or "jsonrpc" in value)

    @property
    def outcome(self) -> str:
        """In a word that is the same for every binding: what interfaces of one agent are compared by."""
        if self.has_result:
            return "a result"
        if self.wants_credential:
            return "a request for credentials"
        if self.error:
            return self.error
        return "no answer of the protocol" if self.wrong else "another error"

    @property
    def words(self) -> str:
        if self.has_result:
            return "A result"
        if self.wrong:
            return said_of(self.wrong)
        name = f", which is {self.error}" if self.error else ""
        return f"Error {self.code}{name}" + (f": {self.text}" if self.text else "")


@dataclass(slots=True)
class Caller:
    """Asks one interface, in its binding and version. Operations are named as version 1.0 names them."""

    http: HttpClient
    interface: Interface
    _known: dict[str, Answer] = field(default_factory=dict)

    async def ask(
        self,
        operation: str,
        params: dict[str, Any] | None = None,
        *,
        version: str | None = None,
        headers: Headers | None = None,
        with_credential: bool = True,
        http: HttpClient | None = None,
    ) -> Answer:
        """Ask; the same question twice is one request. version: of the A2A-Version header, None for the interface's."""
        params = dict(params or {})
        key = json.dumps([operation, params, version, str(headers), with_credential, http is None])
        if key not in self._known:
            if self.interface.tenant:
                params["tenant"] = self.interface.tenant
            silent = version == "" or (version is None and self.interface.is_old)
            ours = [] if silent else [(b"A2A-Version", (version or "1.0").encode())]
            asked = [*ours, *(headers or [])]
            self._known[key] = await self._ask(http or self.http, operation, params, asked, with_credential)
        return self._known[key]

    def forget(self) -> None:
        self._known.clear()

    async def _ask(
        self, http: HttpClient, operation: str, params: dict[str, Any], headers: Headers, with_credential: bool
    ) -> Answer:
        kinds = b"text/event-stream, application/json" if operation in _STREAMS else b"application/json"
        if self.interface.binding == JSONRPC:
            method = _OLD_NAMES.get(operation, operation) if self.interface.is_old else operation
            body = json.dumps({"jsonrpc": "2.0", "id": str(uuid4()), "method": method, "params": params}).encode()
            sent = [(b"Content-Type", b"application/json"), (b"Accept", kinds), *headers]
            exchange = await http.send("POST", self.interface.url, sent, body, with_credential=with_credential)
            return read_jsonrpc(exchange)
        method, url, body = self._request(operation, params)
        sent = [(b"Accept", kinds + b", application/a2a+json"), *headers]
        if body:
            sent.insert(0, (b"Content-Type", b"application/a2a+json"))
        exchange = await http.send(method, url, sent, body, with_credential=with_credential)
        if operation == "SubscribeToTask" and (
            exchange.status == 405 or (exchange.status == 404 and not read_http(exchange).error)
        ):
            # The specification's text says POST, its protocol buffers say GET: either has to do.
            exchange = await http.send("GET", url, sent[1:] if body else sent, with_credential=with_credential)
        return read_http(exchange)

    def _request(self, operation: str, params: dict[str, Any]) -> tuple[str, str, bytes]:
        method, path = _PATHS[operation]
        tenant = params.pop("tenant", "")
        for name in ("taskId", "id"):
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", quote(str(params.pop(name)), safe=""))
        below = "/v1" if self.interface.is_old else f"/{quote(tenant, safe='')}" if tenant else ""
        url = self.interface.url.rstrip("/") + below + path
        if method == "POST":
            return method, url, json.dumps(params).encode()
        query = urlencode({k: str(v).lower() if isinstance(v, bool) else v for k, v in params.items()})
        return method, f"{url}?{query}" if query else url, b""


def said_of(wrong: str) -> str:
    """A sentence for why there is no proper answer."""
    return wrong if wrong.startswith("the answer") else f"Answered with {wrong}"


def read_jsonrpc(exchange: Exchange) -> Answer:
    message, wrong = message_of(exchange)
    if message is None:
        return Answer(exchange, wrong=wrong, root=wrong_at(exchange))
    if isinstance(message.get("error"), dict):
        code, text = error_of(message)
        known = _BY_CODE.get(code, "") if isinstance(code, int) else ""
        return Answer(exchange, error=known, code=code, text=text, root="/response/body/error")
    return Answer(exchange, result=message.get("result"), has_result=True, root="/response/body/result")


def read_http(exchange: Exchange) -> Answer:
    if exchange.fault is not None:
        return Answer(exchange, over_http=True, wrong=exchange.fault.message, root="/response/fault")
    value, problem, at, _ = read_json(bytes(exchange.body))
    if exchange.media_type == "text/event-stream":
        problem = ""  # its events are read where they are judged
    if problem and exchange.body.strip():
        wrong = f"status {exchange.status} with a body that is {problem}"
        return Answer(exchange, over_http=True, code=exchange.status, wrong=wrong, root=f"/response/body{at}")
    if 200 <= exchange.status < 300:
        return Answer(exchange, over_http=True, result=value, has_result=True, root="/response/body")
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return Answer(
            exchange, over_http=True, code=exchange.status, wrong=f"status {exchange.status}", root="/response/status"
        )
    name, text = "", str(error.get("message", ""))
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("@type") == ERROR_INFO and detail.get("reason") in ERRORS:
            name = str(detail["reason"])
    return Answer(exchange, over_http=True, error=name, code=exchange.status, text=text, root="/response/body/error")


def problem_with(answer: Answer, *expected: str) -> tuple[str, str]:
    """Why an answer is not one of the expected errors, in words, and where; ("", "") when it is one."""
    if not answer.over_http:
        is_error = answer.root == "/response/body/error"
        return ("", "") if answer.error in expected else (answer.words, answer.root + ("/code" if is_error else ""))
    status = answer.exchange.status
    if answer.error in expected:
        right = ERRORS[answer.error][1]
        return ("", "") if status == right else (f"{answer.error} with status {status} instead of {right}", _STATUS)
    if "INVALID_PARAMS" in expected and status == 400:
        return "", ""  # no error of A2A's own: the status says it all
    if status == ERRORS[expected[0]][1] and not answer.error:
        return f"Status {status} without an ErrorInfo that says {expected[0]}", "/response/body/error/details"
    return answer.words, _STATUS if answer.error else answer.root
