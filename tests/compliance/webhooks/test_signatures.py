"""Who may deliver, what is said to who may not, and that nothing is parsed before that is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.views.debug import SafeExceptionReporterFilter

from compliance.models import AgentContext
from compliance.webhooks.sources import read_sources
from tests.compliance.webhooks.conftest import Source, deliveries, deployed, platform_jobs, secret_of


def problem(answer: Any) -> tuple[int, str]:
    assert answer["Content-Type"] == "application/problem+json"
    return answer.status_code, json.loads(answer.content)["type"]


def test_a_signed_event_of_a_registered_agent_jobs_a_test(
    registry: Source, context: AgentContext, sent: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = registry.send("msg_1")
    [job] = platform_jobs()
    assert (answer.status_code, json.loads(answer.content)) == (
        202,
        {"delivery_id": "msg_1", "outcome": "requested", "job_id": str(job.pk)},
    )
    assert (job.triggered_by, job.organization_id) == ("webhook", None)
    assert (job.actor_kind, job.actor_id, job.actor_name) == ("webhook", "registry", "registry")
    assert sent == [("compliance.jobs.tasks.run_heartbeats", ())]


def test_the_example_of_the_specification_is_signed_as_ours_are() -> None:
    """Test vector of the Standard Webhooks specification: what we send in tests is what others send."""
    source = Source("example", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = source.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook-signature": ""},
        {"webhook-id": ""},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "9" * 12},
        {"webhook-id": "another"},
        {"webhook-id": "with space"},
        {"webhook-id": "x" * 201},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "no comma"},
        {"webhook-signature": "v1,one,two"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v1a,AAAA v2,AAAA"},
    ],
)
def test_what_is_not_signed_right_is_401_and_leaves_nothing(
    registry: Source, context: AgentContext, headers: dict[str, str]
) -> None:
    assert problem(registry.send(headers=headers)) == (401, "/problems/unauthorized")
    assert deliveries() == platform_jobs() == []


def test_a_signature_holds_for_its_body_and_its_source_alone(registry: Source, context: AgentContext) -> None:
    body = json.dumps(deployed()).encode()
    other = registry.sign("msg_1", "1", body.replace(b"deployed", b"updated"))
    assert registry.send(body=body, headers={"webhook-signature": other}).status_code == 401
    assert Source("deploys", registry.secret).send().status_code == 401
    assert deliveries() == []


def test_any_of_a_sources_secrets_signs_so_that_they_can_be_changed(registry: Source, context: AgentContext) -> None:
    for number, letter in enumerate(("new", "old")):
        assert Source("deploys", secret_of(letter)).send(f"msg_{number}").status_code == 202
    assert Source("deploys", secret_of("older")).send("msg_9").status_code == 401


def test_one_right_signature_among_several_is_enough(registry: Source, context: AgentContext) -> None:
    class Twice(Source):
        def sign(self, *args: Any) -> str:
            return f"v1,AAAA {super().sign(*args)} v1a,AAAA"

    assert Twice(registry.name, registry.secret).send().status_code == 202


@pytest.mark.parametrize("age_seconds", [301, -310, 86_400])
def test_a_delivery_that_is_too_old_or_too_new_is_refused(
    registry: Source, context: AgentContext, age_seconds: int
) -> None:
    assert problem(registry.send(age_seconds=age_seconds)) == (401, "/problems/unauthorized")
    assert deliveries() == []


def test_the_tolerance_is_a_setting(registry: Source, context: AgentContext, settings: Any) -> None:
    assert registry.send("msg_1", age_seconds=200).status_code == 202
    settings.WEBHOOK_TOLERANCE_SECONDS = 100
    assert registry.send("msg_2", age_seconds=200).status_code == 401
    assert registry.send("msg_3", age_seconds=-200).status_code == 401


def test_an_unknown_source_is_answered_like_any_unknown_address(registry: Source, context: AgentContext) -> None:  # I5
    nobody = Source("nobody", registry.secret)
    there_is_none = Client().post("/api/v1/there/is/none/", data=b"{}", content_type="application/json")
    for answer in (nobody.send(), nobody.send(headers={"webhook-signature": ""}), nobody.send(content_type="text/x")):
        assert answer.status_code == 404
        assert (answer.content, answer.headers) == (there_is_none.content, there_is_none.headers)
    large = nobody.send(body=b"x" * 100_000)
    assert large.content == there_is_none.content
    assert Client().get("/api/v1/webhooks/registry/").status_code == 405
    assert Client().get("/api/v1/webhooks/nobody/").status_code == 405


def test_what_is_wrong_with_a_body_is_said_only_to_who_signed_it(registry: Source, context: AgentContext) -> None:
    """Before the signature is verified nothing is parsed."""
    for body in (b"{", b"[]", b"{}", b"\xff", b'{"type": ""}', b'{"type": "x", "data": []}'):
        assert registry.send(body=body, headers={"webhook-signature": "v1,AAAA"}).status_code == 401
    assert problem(registry.send(body=b"{"))[0] == 400
    # What is no text is no JSON either, and no library signs it.
    assert registry.send(body=b"\xff").status_code in (400, 401)
    for body in (b"[]", b"{}", b'{"type": ""}', b'{"type": "x", "data": []}', b'{"type": "agent.deployed"}'):
        assert problem(registry.send(body=body)) == (422, "/problems/invalid"), body
    assert problem(registry.send(event=deployed("ftp://agent.example"))) == (422, "/problems/invalid")
    assert problem(registry.send(event=deployed(7)))[0] == 422  # type: ignore[arg-type]
    assert problem(registry.send(content_type="text/plain"))[0] == 415
    assert problem(registry.send(body=b'"' + b"x" * 66_000 + b'"')) == (413, "/problems/too-large")
    assert deliveries() == platform_jobs() == []


def test_each_source_has_a_limit_of_its_own_and_strangers_do_not_use_it_up(
    registry: Source, context: AgentContext, settings: Any
) -> None:
    settings.WEBHOOK_RATE_PER_MINUTE = 2
    for _ in range(3):
        assert registry.send(headers={"webhook-signature": "v1,AAAA"}).status_code == 401
    first = registry.send("msg_1")
    assert (first.status_code, first["RateLimit-Remaining"]) == (202, "1")
    assert registry.send("msg_2").status_code == 202
    over = registry.send("msg_3")
    assert problem(over) == (429, "/problems/too-many-requests")
    assert int(over["Retry-After"]) > 0
    assert Source("deploys", secret_of("old")).send("msg_3").status_code == 202
    assert len(deliveries()) == 3


def test_guessing_is_limited_by_address(registry: Source, context: AgentContext, settings: Any) -> None:
    settings.API_FAILED_KEYS_PER_MINUTE = 2
    found = [registry.send(headers={"webhook-signature": "v1,AAAA"}).status_code for _ in range(3)]
    assert found == [401, 401, 429]
    assert registry.send().status_code == 202


def test_sources_are_read_from_one_variable() -> None:
    one, two = secret_of("a"), secret_of("b")
    assert read_sources([f"registry={one}|{two}", f" deploys={two} ", ""]) == {
        "registry": (one, two),
        "deploys": (two,),
    }
    assert read_sources([]) == {}


@pytest.mark.parametrize(
    "listed",
    [
        ["registry"],
        ["registry="],
        ["registry=c2VjcmV0LXdpdGhvdXQtcHJlZml4LW9mLWl0cy1raW5k"],
        ["registry=whsec_c2hvcnQ="],
        ["registry=whsec_not base64 at all, not base64 at all"],
        [f"registry={secret_of('a')}|"],
        [f"Registry={secret_of('a')}"],
        [f"={secret_of('a')}"],
        [f"a={secret_of('a')}", f"a={secret_of('b')}"],
        [secret_of("a")],
    ],
)
def test_a_source_that_is_written_wrong_is_refused_at_the_start_without_its_secret(listed: list[str]) -> None:  # V1
    with pytest.raises(ImproperlyConfigured, match="ASSAY_WEBHOOK_SOURCES") as refused:
        read_sources(listed)
    for secret in (secret_of("a"), secret_of("b"), "c2hvcnQ", "c2VjcmV0", "not base64"):
        assert secret not in str(refused.value)


def test_no_secret_gets_into_a_log_or_an_error_page(registry: Source, context: AgentContext, caplog: Any) -> None:  # V1
    caplog.set_level("DEBUG")
    registry.send(headers={"webhook-signature": "v1,AAAA"})
    registry.send()
    shown = caplog.text + repr(SafeExceptionReporterFilter().get_safe_settings())
    assert registry.secret not in shown
    assert registry.secret.removeprefix("whsec_") not in shown
