"""An A2A server made of the official SDK's own parts, as a process of its own: software that is not ours.

    python -m tests.compliance.engines.suites.a2a.reference_agent [streaming] [push] [message] [old]

Prints its address once it answers. "old" also speaks version 0.3; "message" answers with messages, not tasks.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from a2a.helpers import new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryPushNotificationConfigStore, InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette

from tests.compliance.engines.servers import bound


class Echo(AgentExecutor):
    def __init__(self, *, messages: bool) -> None:
        self.messages = messages

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        if self.messages:
            await event_queue.enqueue_event(new_text_message("Hello yourself", context_id=context.context_id))
            return
        task = context.current_task or new_task_from_user_message(context.message)
        if context.current_task is None:
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        await updater.add_artifact([new_text_part("Hello yourself")], name="echo")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        if context.task_id and context.context_id:
            await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def application(url: str, *flags: str) -> Starlette:
    """The server. url: its own address, with a slash at the end."""
    versions = ["1.0", "0.3"] if "old" in flags else ["1.0"]
    card = AgentCard(
        name="Echo",
        description="Greets back",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=address, protocol_binding=binding, protocol_version=version)
            for version in versions
            for address, binding in ((url, "JSONRPC"), (f"{url}rest", "HTTP+JSON"))
        ],
        capabilities=AgentCapabilities(streaming="streaming" in flags, push_notifications="push" in flags),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="greet", name="Greet", description="Greets back", tags=["talk"])],
    )
    more: dict[str, Any] = {"push_config_store": InMemoryPushNotificationConfigStore()} if "push" in flags else {}
    handler = DefaultRequestHandler(
        agent_executor=Echo(messages="message" in flags), task_store=InMemoryTaskStore(), agent_card=card, **more
    )
    compatible = "old" in flags
    return Starlette(
        routes=[
            *create_agent_card_routes(card),
            *create_jsonrpc_routes(handler, "/", enable_v0_3_compat=compatible),
            *create_rest_routes(handler, path_prefix="/rest", enable_v0_3_compat=compatible),
        ]
    )


def main() -> None:
    sock = bound()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
    sock.listen()
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    config = uvicorn.Config(application(url, *sys.argv[1:]), log_level="error")
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
