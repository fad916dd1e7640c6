"""The baseline's checks of the tools that an MCP server lists: their schemas, and what calls answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import mcp_types as types

from compliance.engines.catalog import StepSpec
from compliance.engines.http.exchange import Exchange, FaultKind
from compliance.engines.http.jsonrpc import error_of, message_of
from compliance.engines.reports.builder import ReportBuilder, StepResult
from compliance.engines.suites.assertions import locked_out
from compliance.engines.suites.json_schemas import Budget, CannotCompare, TooLarge, mismatch, problem_in, takes_nothing

_PROTOCOL_ERRORS = (-32700, -32600, -32601)  # the server did not read the call, or has no calls
_STACK = re.compile(
    r"Traceback \(most recent call last\)|panicked at |goroutine \d+ \["
    r"|(?:^|\n|\\n)[ \t]*at [\w.$<>\[\] ]++\(?[^\n()]{0,500}:\d+"  # JavaScript, Java, C#
)
_ERROR_LENGTH = 20_000  # characters of an error's message, and of its data, that are searched for a stack trace
_PROBLEM_LENGTH = 480  # characters of what is wrong with one schema or value


class Answer(NamedTuple):
    """What came of a request: the result, or None, and what is wrong. A bad shape still has its result."""

    exchange: Exchange
    result: dict[str, Any] | None
    problem: str = ""  # in words
    at: str = ""  # where in the exchange, as a JSON pointer


class Position(NamedTuple):
    """Where a listed item came from."""

    page: Exchange | None  # None where nobody will look for it
    at: str  # JSON pointer into the exchange


Ask = Callable[[types.Request[Any, Any]], Awaitable[Answer]]

_SPEC = "https://modelcontextprotocol.io/specification/2025-11-25/server/tools"
_LISTING = ("mcp/listings", "tools")  # the step in which the tools came


class ToolChecks:
    def __init__(
        self, run: ReportBuilder, tools: list[dict[str, Any]], positions: list[Position], *, declared: bool, ask: Ask
    ) -> None:
        self.run = run
        self.tools = tools
        self.positions = positions  # of the tools, in their order
        self.declared = declared  # whether the server says that it has tools
        self.ask = ask
        self.valid_outputs: set[str] = set()
        self.too_large = False  # whether some schemas were left out for their size

    def _shown(self, tool: dict[str, Any]) -> str:
        """The tool's name as a report may hold it: an agent may call a tool by the credential that it was sent (V1)."""
        return self.run.said(tool.get("name", ""), 128)

    async def check_schemas(self) -> None:
        run, limits = self.run, self.run.target.limits
        with run.step("mcp/schemas", "names") as step:
            names = [tool.get("name") for tool in self.tools]
            twice = (
                sorted({run.said(name, 100) for name in names if names.count(name) > 1}) if len(names) < 2000 else []
            )
            if not self.declared:
                step.not_applicable("The server does not declare tools")
            elif twice or len(set(map(str, names))) < len(names):
                position = self.positions[_second(names)]
                said = f"More than once: {', '.join(twice[:10])}" if twice else "Some names occur more than once"
                self._blame(step, said, position.page, f"{position.at}/name")
            else:
                step.passed(f"{len(names)} different names")
        budget = Budget(limits.schema_nodes)
        run.expected_steps += min(len(self.tools), limits.items)
        keys: set[str] = set()
        for tool, position in zip(self.tools[: limits.items], self.positions, strict=False):
            name = self._shown(tool)
            key, again = f"tool/{name}", 0
            while key in keys:
                again += 1
                key = f"tool/{name}+{again if again > 1 else ''}"  # not a mark for each time: keys have to stay short
            keys.add(key)
            spec = StepSpec(
                key,
                f"The schemas of tool {name} are valid",
                "Both schemas are valid JSON Schema (2020-12 unless it names another), the input an object",
                f"{_SPEC}#tool",
            )
            with run.step("mcp/schemas", spec) as step:
                await self._check_tool(step, tool, name, budget, position)
        if len(self.tools) > limits.items:
            spec = StepSpec(
                "more", "The other tools' schemas are valid", "The same as for the tools above", f"{_SPEC}#tool"
            )
            with run.step("mcp/schemas", spec) as step:
                step.skipped(
                    f"{len(self.tools) - limits.items:,} more tools: only the first {limits.items} are checked"
                )

    def _blame(self, step: StepResult, problem: str, page: Exchange | None, at: str) -> None:
        """Fail a step for what stands in the listing, which is kept as the evidence of both."""
        self.run.keep_evidence(*_LISTING, found_in=page, at=at)
        step.found_in = page
        step.failed(problem, at=at)

    async def _check_tool(
        self, step: StepResult, tool: dict[str, Any], name: str, budget: Budget, position: Position
    ) -> None:
        problems: list[str] = []
        for part in ("inputSchema", "outputSchema"):
            schema = tool.get(part)
            if schema is None and part == "outputSchema":
                continue
            if not isinstance(schema, dict):
                problems.append(f"/{part} is missing" if schema is None else f"/{part} is not an object")
                continue
            try:
                problem = await problem_in(schema, budget)
            except TooLarge:
                step.skipped(f"/{part} is too large to check, or there are too many schemas")
                if not self.too_large:
                    # Once: a server with hundreds of tools may have hundreds of such schemas.
                    self.run.notice("schema_size", f"Schemas were too large to check, the first those of tool {name}")
                self.too_large = True
                return
            if problem:
                problems.append(f"/{part}{problem}" if problem.startswith("/") else f"/{part}: {problem}")
            elif part == "inputSchema" and schema.get("type") != "object":
                problems.append('/inputSchema/type is not "object"')
            elif part == "outputSchema":
                self.valid_outputs.add(str(tool.get("name")))
        if problems:
            # Each by itself: in the midst of the sentence nobody would look for the beginning of a secret.
            said = "; ".join(self.run.said(problem, _PROBLEM_LENGTH) for problem in problems)
            self._blame(step, said, position.page, position.at + _pointer_in(problems[0]))
        else:
            step.passed("Valid")

    def _callable(self) -> list[dict[str, Any]]:
        """Tools that may be called: they only read, by their own word, and need to be told nothing (E7)."""
        side_effects = bool(self.run.option("allow_side_effects"))
        if not side_effects and not self.run.option("call_read_only_tools"):
            return []
        chosen: list[dict[str, Any]] = []
        for tool in self.tools:
            schema, hints = tool.get("inputSchema"), tool.get("annotations")
            reads = isinstance(hints, dict) and hints.get("readOnlyHint") is True
            if len(chosen) == self.run.target.limits.tool_calls:
                break
            if (reads or side_effects) and takes_nothing(schema, self.run.target.limits.schema_nodes):
                chosen.append(tool)
        return chosen

    async def check_calls(self) -> None:
        for tool in self._callable():
            name, shown = str(tool.get("name", "")), self._shown(tool)
            spec = StepSpec(
                f"call/{shown}",
                f"Tool {shown} answers as it declares",
                "A result, or a refusal in the way of the protocol; structured content that matches the output schema",
                f"{_SPEC}#structured-content",
            )
            if self.run.done("mcp/calls", spec.key):
                continue
            self.run.expected_steps += 1
            with self.run.step("mcp/calls", spec) as step:
                if _wants_task(tool):
                    step.not_applicable("The tool is called only as a task, which this suite does not start")
                else:
                    await self._check_call(step, tool, await self.ask(call_tool(name)))

    async def _check_call(self, step: StepResult, tool: dict[str, Any], answer: Answer) -> None:
        exchange, result, problem, at = answer
        message, wrong = message_of(exchange)
        code, text = error_of(message)
        if locked_out(self.run, step, exchange):
            return
        if exchange.fault is not None and exchange.fault.kind is FaultKind.TIMEOUT:
            step.silent(f"{exchange.fault.message}: a tool may take its time")
        elif code is not None and code not in _PROTOCOL_ERRORS and not wrong:
            step.silent(f"The tool refused the call with error {code}: {self.run.said(text, 300)}")
        elif result is None or problem:
            step.failed(problem, at=at)
        elif result.get("isError"):
            step.silent(f"The tool refused the call: {self.run.said(_text_of(result), 300)}")
        else:
            await self._check_output(step, tool, result)

    async def _check_output(self, step: StepResult, tool: dict[str, Any], result: dict[str, Any]) -> None:
        schema, content = tool.get("outputSchema"), result.get("structuredContent")
        if schema is None:
            step.passed("Answered; the tool declares no output schema")
        elif str(tool.get("name")) not in self.valid_outputs:
            step.silent("Answered; the output schema cannot be used")
        elif content is None:
            step.failed(
                "The tool declares an output schema and answered without structured content", at="/response/body/result"
            )
        else:
            try:
                problem = await mismatch(content, schema, self.run.target.limits.schema_nodes)
            except CannotCompare as reason:
                step.silent(f"Answered; not compared with the output schema: {reason}")
                return
            if problem:
                at = "/response/body/result/structuredContent" + _pointer_in(problem)
                said = self.run.said(problem, _PROBLEM_LENGTH)
                step.failed(f"The structured content does not match the output schema at {said}", at=at)
            else:
                step.passed("The structured content matches the output schema")


def _wants_task(tool: dict[str, Any]) -> bool:
    execution = tool.get("execution")
    return isinstance(execution, dict) and execution.get("taskSupport") == "required"


def has_stack(error: dict[str, Any]) -> bool:
    """Whether a JSON-RPC error holds a stack trace: then the server did not refuse, it crashed."""
    parts = (str(error.get(name))[:_ERROR_LENGTH] for name in ("message", "data"))
    return _STACK.search("\n".join(parts)) is not None


def call_tool(name: str) -> types.CallToolRequest:
    return types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments={}))


def _text_of(result: dict[str, Any]) -> str:
    content = result.get("content")
    texts = [str(c.get("text", "")) for c in content if isinstance(c, dict)] if isinstance(content, list) else []
    return " ".join(texts)


def _pointer_in(problem: str) -> str:
    """The JSON pointer that a sentence about a value begins with; "" when it is about the whole value."""
    return re.split(r":? ", problem, maxsplit=1)[0] if problem.startswith("/") else ""


def _second(names: list[Any]) -> int:
    """The index of the first name that was there before."""
    seen: set[str] = set()
    for index, name in enumerate(map(str, names)):
        if name in seen:
            return index
        seen.add(name)
    return 0
