"""A small A2A agent on the package a2a-sdk, of whichever version there is. Argument 1 is its port on the loopback.

It runs in an environment of its own (the requirements beside this file) and imports nothing of Assay.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentSkill

PORT = int(sys.argv[1])
URL = f"http://127.0.0.1:{PORT}/"
OLD = version("a2a-sdk").startswith("0.")
TEXT = ["text/plain"]


class Greeter(AgentExecutor):
    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        made = (
            import_module("a2a.utils").new_agent_text_message if OLD else import_module("a2a.helpers").new_text_message
        )
        await event_queue.enqueue_event(made("Hello yourself", context_id=context.context_id))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        raise NotImplementedError


def application() -> Any:
    said: dict[str, Any] = {
        "name": "Greeter",
        "description": "Greets back",
        "version": "1.0.0",
        "capabilities": AgentCapabilities(streaming=True),
        "default_input_modes": TEXT,
        "default_output_modes": TEXT,
        "skills": [AgentSkill(id="greet", name="Greet", description="Greets back", tags=["talk"])],
    }
    if OLD:
        names = {"default_input_modes": "defaultInputModes", "default_output_modes": "defaultOutputModes"}
        card = AgentCard.model_validate({**{names.get(key, key): value for key, value in said.items()}, "url": URL})
        handler = DefaultRequestHandler(Greeter(), InMemoryTaskStore())
        return import_module("a2a.server.apps").A2AStarletteApplication(card, handler).build()
    interface = import_module("a2a.types").AgentInterface
    said["supported_interfaces"] = [interface(url=URL, protocol_binding="JSONRPC", protocol_version="1.0")]
    card = AgentCard(**said)
    routes = import_module("a2a.server.routes")
    handler = DefaultRequestHandler(Greeter(), InMemoryTaskStore(), card)
    paths = [*routes.create_agent_card_routes(card), *routes.create_jsonrpc_routes(handler, "/")]
    return import_module("starlette.applications").Starlette(routes=paths)


if __name__ == "__main__":
    uvicorn.run(application(), host="127.0.0.1", port=PORT)
