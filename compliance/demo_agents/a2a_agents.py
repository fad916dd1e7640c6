"""The demo's A2A agent."""

from __future__ import annotations

from a2a.helpers import get_message_text, new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentProvider, AgentSkill
from starlette.applications import Starlette

GREETINGS = {"hello": "bonjour", "good morning": "guten Morgen", "thank you": "gracias"}


class TranslatorExecutor(AgentExecutor):
    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        if context.message is None:
            raise ValueError("There is nothing to translate")
        task = context.current_task or new_task_from_user_message(context.message)
        if context.current_task is None:
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        said = get_message_text(context.message).strip().lower().rstrip(".!")
        await updater.add_artifact([new_text_part(GREETINGS.get(said, f"({said})"))], name="translation")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        if context.task_id and context.context_id:
            await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def translator(url: str) -> Starlette:
    card = AgentCard(
        name="Translator",
        description="Translates greetings into other languages",
        version="1.3.0",
        provider=AgentProvider(organization="Demo agents", url="https://example.com"),
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=False, push_notifications=False),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[
            AgentSkill(
                id="greet",
                name="Translate a greeting",
                description="Says hello, good morning or thank you in another language",
                tags=["translation", "read-only"],
                examples=["hello", "good morning"],
            )
        ],
    )
    handler = DefaultRequestHandler(
        agent_executor=TranslatorExecutor(), task_store=InMemoryTaskStore(), agent_card=card
    )
    return Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])
