"""Registering agents: who may, what is refused, and what stays when an agent is removed."""

from __future__ import annotations

import pytest

from compliance.models import Agent, AgentContext, ComplianceRun, Organization, User
from compliance.registry.actions import AlreadyRegistered, note_protocol, register_agent, remove_context, rename_context
from compliance.registry.urls import InvalidAgentURL
from compliance.tenancy.errors import NotAllowed, Refused
from compliance.tenancy.scope import organization_scope, platform_scope
from tests.conftest import AGENT_URL, make_run


def test_a_registered_agent_is_an_observers_until_staff_say_otherwise(organization: Organization, alice: User) -> None:
    context = register_agent(organization=organization, url="HTTPS://Agent.example:443/mcp", by=alice)
    assert (context.agent_url, context.relation, context.name) == (AGENT_URL, "observer", "agent.example/mcp")


def test_a_second_registration_is_refused_and_names_the_first(organization: Organization, alice: User) -> None:
    first = register_agent(organization=organization, url=AGENT_URL, name="First", by=alice)
    with pytest.raises(AlreadyRegistered, match="First") as refusal:
        register_agent(organization=organization, url="https://AGENT.example/./mcp", by=alice)
    assert refusal.value.context.pk == first.pk
    with organization_scope(organization.id):
        assert AgentContext.objects.count() == 1


def test_two_organizations_register_the_same_agent_without_noticing_each_other(
    organization: Organization, other_organization: Organization, alice: User, charlie: User
) -> None:
    mine = register_agent(organization=organization, url=AGENT_URL, by=alice)
    theirs = register_agent(organization=other_organization, url=AGENT_URL, by=charlie)
    assert mine.pk != theirs.pk
    with platform_scope():
        assert Agent.objects.get(pk=AGENT_URL).registrations == 2


def test_members_and_strangers_may_not_register(organization: Organization, bob: User, charlie: User) -> None:
    for person in (bob, charlie):
        with pytest.raises(NotAllowed):
            register_agent(organization=organization, url=AGENT_URL, by=person)
    with platform_scope():
        assert not Agent.objects.exists()


@pytest.mark.parametrize("url", ["https://user:pass@agent.example/", "https://agent.example/mcp?api_key=abc"])
def test_a_bad_address_leaves_nothing_behind(organization: Organization, alice: User, url: str) -> None:
    with pytest.raises(InvalidAgentURL):
        register_agent(organization=organization, url=url, by=alice)
    with platform_scope():
        assert not Agent.objects.exists()


def test_renaming_needs_a_name_and_a_manager(organization: Organization, alice: User, bob: User) -> None:
    context = register_agent(organization=organization, url=AGENT_URL, by=alice)
    assert rename_context(organization=organization, context_id=context.pk, name=" New ", by=alice).name == "New"
    with pytest.raises(Refused):
        rename_context(organization=organization, context_id=context.pk, name=" ", by=alice)
    with pytest.raises(NotAllowed):
        rename_context(organization=organization, context_id=context.pk, name="Mine", by=bob)


def test_a_removed_agents_runs_stay_and_return_with_it(organization: Organization, alice: User) -> None:
    context = register_agent(organization=organization, url=AGENT_URL, by=alice)
    run = make_run(organization=organization)
    remove_context(organization=organization, context_id=context.pk, by=alice)
    with organization_scope(organization.id):
        assert ComplianceRun.objects.filter(pk=run.pk).exists()
    register_agent(organization=organization, url=AGENT_URL, by=alice)
    from compliance.models import AgentContextWithLatestTest

    with organization_scope(organization.id):
        row = AgentContextWithLatestTest.objects.get()
    assert (row.last_test_run_id, row.total_tests_run) == (run.pk, 1)


def test_the_first_answer_about_the_protocol_stays(organization: Organization, alice: User) -> None:
    register_agent(organization=organization, url=AGENT_URL, by=alice)
    note_protocol(agent_url=AGENT_URL, protocol="", note="nothing there")
    note_protocol(agent_url=AGENT_URL, protocol="mcp", note="answered initialize")
    note_protocol(agent_url=AGENT_URL, protocol="a2a", note="has a card, too")
    with platform_scope():
        agent = Agent.objects.get(pk=AGENT_URL)
    assert (agent.protocol, agent.protocol_note) == ("mcp", "answered initialize")
