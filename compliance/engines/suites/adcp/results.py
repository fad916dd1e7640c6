"""The official runner's results as tracks, scenarios and steps, with its own classification kept."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from compliance.engines.http.redaction import Redactor
from compliance.engines.reports.model import CONNECTIVITY, Notice, Scenario, Step, Track, Verdict
from compliance.engines.suites.adcp.catalog import spec_link, track_title
from compliance.engines.suites.adcp.evidence import evidence_of
from compliance.engines.suites.adcp.outcome import RunnerOutput

_LENGTH = 1000  # characters of a sentence that may quote the agent
_NOT_APPLICABLE = frozenset(
    {"not_applicable", "missing_tool", "no_phases", "capability_unsupported"}
)  # the agent does not declare what the step is about
_WORDS = {
    "missing_test_controller": "The agent has no comply_test_controller, without which this cannot be tested",
    "prerequisite_failed": "Something earlier has to work first",
    "unsatisfied_contract": "The test kit for this is not part of the run",
    "peer_branch_taken": "Another way of doing the same was taken",
    "peer_substituted": "Another step has done the same",
}
_SPENT = (
    "The storyboard sends the same idempotency key in every run, and the agent, as it should, knows it from an earlier "
    "run: this cannot be tested again until the agent has forgotten the key"
)


class Results:
    """Builds the tracks of a report from what the driver told."""

    def __init__(self, output: RunnerOutput, redactor: Redactor, *, locked: bool, all_evidence: bool) -> None:
        self.output = output
        self.redactor = redactor
        self.locked = locked
        self.all_evidence = all_evidence
        self.notices: list[Notice] = []
        self._tracks: dict[str, list[Scenario]] = {}
        self._left_out = 0  # steps whose idempotency key the agent knows, or says so, and what needs them

    def tracks(self, unreached: str = "") -> tuple[Track, ...]:
        """All that ran, and what was planned and did not run, for the reason `unreached`, as not tested."""
        for result in self.output.results.values():
            self._storyboard(result)
        for planned in self.output.planned.values():
            if unreached and planned["id"] not in self.output.results:
                self._unreached(planned, unreached)
        for gated in (self.output.end or {}).get("not_applicable", []):
            self._gated(gated)
        if self._left_out:
            steps = "step was" if self._left_out == 1 else "steps were"
            words = "because the agent says that it knows an idempotency key of the storyboards from an earlier run"
            self.notices.append(Notice("spent_keys", f"{self._left_out} {steps} left out, {words}"))
        order = [*self.output.labels, *self._tracks]
        return tuple(
            Track(key, self.output.labels.get(key) or track_title(key), tuple(self._tracks[key]))
            for key in dict.fromkeys(order)
            if key in self._tracks
        )

    def clean(self, text: Any) -> str:
        return self.redactor.start(str(text), _LENGTH)

    def _put(self, track: str, scenario: Scenario) -> None:
        if scenario.steps:
            self._tracks.setdefault(track or "other", []).append(scenario)

    def _storyboard(self, result: dict[str, Any]) -> None:
        storyboard, title = result["id"], self.clean(result["title"])
        spent = False
        for phase in result["phases"]:
            steps = []
            for told in phase["steps"]:
                step = self._step(storyboard, told)
                if spent and step.verdict is Verdict.SKIPPED:
                    step = replace(step, actual="An earlier step, which this needs, could not be repeated")
                    self._left_out += 1
                self._left_out += bool(told["spent"]) and step.verdict is Verdict.NOT_TESTED
                spent = spent or told["spent"]
                steps.append(step)
            scenario = Scenario(f"{storyboard}/{phase['id']}", f"{title}: {self.clean(phase['title'])}", _unique(steps))
            self._put(result["track"], scenario)
        silent = []
        for one in result["assertions"]:
            if not one["passed"]:
                # Over a whole storyboard, the official runner counts no failure of any step for it.
                words = f"{title}: {one['description']}: {one.get('error') or 'does not hold'}"
                self.notices.append(Notice("invariant", self.clean(words)))
            elif one.get("observed") == 0:
                silent.append(
                    Step(
                        key=one["id"],
                        title=self.clean(one["description"]),
                        verdict=Verdict.SILENT,
                        actual="Nothing came by in this storyboard that could have broken it",
                        requirement=one["id"],
                    )
                )
        self._put(
            result["track"],
            Scenario(f"{storyboard}/invariants", f"{title}: what must hold throughout", _unique(silent)),
        )

    def _step(self, storyboard: str, step: dict[str, Any]) -> Step:
        verdict, actual = self._verdict(step)
        failed = [check for check in step["checks"] if not check["passed"]]
        schema = next((check["schema"] for check in failed if check.get("schema")), None)
        wants_evidence = verdict in (Verdict.FAILED, Verdict.SILENT) or self.all_evidence
        return Step(
            key=step["id"],
            title=self.clean(step["title"]),
            verdict=verdict,
            expected=self.clean(_expected(step)),
            actual=self.clean(actual),
            spec_url=spec_link(step.get("doc"), schema),
            duration_ms=int(step["ms"] or 0),
            evidence=evidence_of(step, self.redactor) if wants_evidence and not step["skipped"] else None,
            requirement=f"{storyboard}/{step['id']}"[:200],
        )

    def _verdict(self, step: dict[str, Any]) -> tuple[Verdict, str]:
        if step["skipped"]:
            reasons = {step.get("reason"), step.get("canonical")}
            verdict = Verdict.NOT_APPLICABLE if reasons & _NOT_APPLICABLE else Verdict.SKIPPED
            words = _WORDS.get(step.get("canonical") or "", step.get("canonical") or "")
            return verdict, step.get("detail") or words or "Skipped by the official runner"
        if step["passed"]:
            return Verdict.PASSED, _passed(step)
        if self.locked and step["task"] == "assert_contribution":
            # It asks that a key or OAuth was seen to work, and the run had none to try (see ADR 9).
            return Verdict.SKIPPED, "Cannot be judged without a credential"
        if step["spent"]:
            return Verdict.NOT_TESTED, _SPENT
        if not step["counts"]:
            return Verdict.SILENT, f"Does not hold, in a phase that is optional, so it is no failure. {_failed(step)}"
        return Verdict.FAILED, _failed(step)

    def _unreached(self, planned: dict[str, Any], reason: str) -> None:
        for phase in planned["phases"]:
            steps = [
                Step(one["id"], self.clean(one["title"]), Verdict.NOT_TESTED, actual=reason) for one in phase["steps"]
            ]
            key, title = f"{planned['id']}/{phase['id']}", f"{planned['title']}: {phase['title']}"
            self._put(planned["track"], Scenario(key, self.clean(title), _unique(steps)))

    def _gated(self, gated: dict[str, Any]) -> None:
        step = Step(
            "not_applicable", gated["storyboard_title"], Verdict.NOT_APPLICABLE, actual=self.clean(gated["reason"])
        )
        scenario = Scenario(f"{gated['storyboard_id']}/not_applicable", gated["storyboard_title"], (step,))
        self._put(gated.get("track") or "", scenario)


def _unique(steps: list[Step]) -> tuple[Step, ...]:
    """Keys are unique within a scenario, whatever a storyboard says."""
    seen: dict[str, Step] = {}
    for step in steps:
        key, number = step.key, 2
        while key in seen:
            key, number = f"{step.key}-{number}", number + 1
        seen[key] = step if key == step.key else replace(step, key=key)
    return tuple(seen.values())


def _expected(step: dict[str, Any]) -> str:
    failed = [check for check in step["checks"] if not check["passed"]]
    words = "; ".join(check["description"] for check in failed) or " ".join((step.get("expected") or "").split())
    return words or "; ".join(check["description"] for check in step["checks"])


def _passed(step: dict[str, Any]) -> str:
    checks = len(step["checks"])
    warnings = [check["warning"] for check in step["checks"] if check.get("warning")]
    words = f"All {checks} checks hold" if checks > 1 else "As expected"
    return f"{words}. {'; '.join(warnings)}" if warnings else words


def _failed(step: dict[str, Any]) -> str:
    said = [str(step["error"])] if step.get("error") else []
    for check in step["checks"]:
        if not check["passed"]:
            said.append(check.get("error") or f"{check['description']}: {_short(check.get('actual'))}")
    return "; ".join([*said, *step["hints"]]) or "Failed without a reason"


def _short(value: dict[str, Any] | None) -> str:
    if value is None:
        return "nothing came"
    return value["text"] if "text" in value else json.dumps(value["json"])


def connectivity_track(key: str, title: str, expected: str, actual: str, spec_url: str) -> Track:
    """The track of an agent that could not be reached: the official runner has none for it."""
    step = Step(key, title, Verdict.FAILED, expected=expected, actual=actual, spec_url=spec_url)
    return Track(CONNECTIVITY, "Connectivity", (Scenario("connectivity/reach", "Reaching the agent", (step,)),))
