// Runs the official AdCP storyboard runner and prints what it does, one JSON object a line.
//
// What is asked comes as JSON on standard input, where nobody else on the machine can read it:
//   sdk           folder of the npm package @adcp/sdk
//   parsed        file of storyboards parsed beforehand (see prepare.cjs), or "" for none
//   url           the agent
//   protocol      "mcp", "a2a", or "" to ask the agent as the official command does
//   bundle        which bundle of storyboards; "" for what the agent's capabilities ask for
//   storyboard    or which one of them alone, written with hyphens; "" for none
//   begin_at      the storyboard to begin with, of those to come; "" for their own order
//   chosen        scenario keys `<storyboard>/<phase>` whose storyboards alone are run; empty for all
//   auth          as the runner takes it, or null
//   header        {name, value} to send to the agent's origin, or null
//   secrets       what no other origin may be sent
//   allow_http    whether private addresses and plain HTTP are allowed: the operator's rules decide that
//   timeout_ms    for the whole run
//   cap           characters of a payload that are worth keeping
//   all_evidence  keep the exchanges of steps that passed too
// What is printed, by "at": "start" (the tracks' names), "plan" (storyboards to come), "step" (progress),
// "storyboard" (one result), "end" (what the official command prints, shortened), "error" (the run broke).
"use strict";

const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");
const { replaceDispatchers } = require("../../process/node/egress.cjs");
const { Wire } = require("./wire.cjs");

// Standard output is ours; libraries that log to it would break the lines.
console.log = console.info = console.debug = console.error.bind(console);

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function asked() {
  let text = "";
  for await (const part of process.stdin) text += part;
  return JSON.parse(text);
}

// Steps that failed in an optional phase are in the official list of failures and not in its count, unless
// the phase found the agent's OAuth metadata: then they count.
function counted(definition, phase, { phases }) {
  if (!definition?.phases.find((one) => one.id === phase.phase_id)?.optional) return () => true;
  const found = phase.steps.findIndex(
    (step) => step.task === "protected_resource_metadata" && !step.skipped && ok(step.response?.status),
  );
  return (index) => found >= 0 && index >= found;
}

const ok = (status) => status >= 200 && status < 300;

function clip(value, cap) {
  if (value === undefined || value === null) return null;
  const text = JSON.stringify(value);
  return text.length <= cap ? { json: value } : { text: text.slice(0, cap), size: Buffer.byteLength(text) };
}

function check(validation, cap) {
  const { check: kind, passed, description, error, warning, note, json_pointer: pointer, schema_url: schema } = validation;
  const shown = passed ? {} : { expected: clip(validation.expected, cap), actual: clip(validation.actual, cap), pointer };
  return { kind, passed, description, error, warning, note, schema, ...shown };
}

// A key that a storyboard writes out goes out in every run, but with the dates of the day: a seller that keeps keys knows
// it from the run before, and has to refuse it. keys: that this run has sent, of which it may be itself to blame.
function isSpent(one, definition, keys) {
  const key = definition?.sample_request?.idempotency_key;
  if (typeof key !== "string" || key.startsWith("$") || one.skipped) return false;
  const first = !keys.has(key);
  keys.add(key);
  return first && !one.passed && [one.response, one.response_record?.payload].some(saysConflict);
}

// The error's code in the places that the protocol has for it. Words in a message are nobody's answer.
function saysConflict(payload) {
  if (typeof payload !== "object" || payload === null) return false;
  const errors = Array.isArray(payload.errors) ? payload.errors : [];
  const codes = [payload.adcp_error, ...errors].map((error) => error?.code);
  return codes.includes("IDEMPOTENCY_CONFLICT") || saysConflict(payload.structuredContent);
}

function plain(storyboard, result, exchanges, keys, { cap, all_evidence: all }) {
  const defined = new Map(storyboard.phases.flatMap((phase) => phase.steps.map((step) => [step.id, step])));
  const step = (one, phase, counts) => {
    const definition = defined.get(one.step_id);
    const seen = exchanges.get(`${phase.phase_id}/${one.step_id}`);
    const kept = !one.skipped && (all || !one.passed);
    return {
      id: one.step_id,
      title: one.title,
      task: one.task,
      passed: one.passed,
      skipped: one.skipped === true,
      reason: one.skip_reason,
      canonical: one.skip?.reason,
      detail: one.skip?.detail,
      counts,
      spent: isSpent(one, definition, keys),
      ms: one.duration_ms,
      error: one.error,
      expected: definition?.expected,
      doc: definition?.doc_ref,
      checks: one.validations.map((validation) => check(validation, 2000)),
      hints: (one.hints ?? []).map((hint) => hint.message),
      ...(kept && {
        request: one.request && { ...one.request, payload: clip(one.request.payload, cap) },
        response: one.response_record && { ...one.response_record, payload: clip(one.response_record.payload, cap) },
        wire: seen,
      }),
    };
  };
  return {
    id: result.storyboard_id,
    title: result.storyboard_title,
    track: storyboard.track ?? "",
    passed: result.passed_count,
    failed: result.failed_count,
    skipped: result.skipped_count,
    phases: result.phases.map((phase) => {
      const counts = counted(storyboard, phase, result);
      return {
        id: phase.phase_id,
        title: phase.phase_title,
        steps: phase.steps.map((one, index) => step(one, phase, counts(index))),
      };
    }),
    assertions: (result.assertions ?? [])
      .filter((one) => one.scope === "storyboard")
      .map((one) => ({
        id: one.assertion_id,
        passed: one.passed,
        description: one.description,
        error: one.error,
        observed: one.observation_count,
      })),
  };
}

// Reading the storyboards' YAML takes a tenth of a run. A text that was parsed beforehand is known by its digest, so a
// changed file is parsed as ever; each caller gets an object of its own, because the runner writes into them.
function parseOnce(yaml, file) {
  const known = JSON.parse(fs.readFileSync(file, "utf-8"));
  const { parse } = yaml;
  yaml.parse = (text, ...options) => {
    const found = options.length === 0 && known[createHash("sha256").update(text).digest("hex")];
    return found ? JSON.parse(found) : parse(text, ...options);
  };
}

// The runner asks for its storyboards and runs them through these exports, one after the other.
function listen(lib, wire, options) {
  const runner = lib("testing/storyboard/runner.js");
  const library = lib("testing/storyboard/compliance.js");
  const progress = { done: 0, total: 0, planned: new Set(), exchanges: new Map(), keys: new Set() };
  const size = (storyboard) => storyboard.phases.reduce((sum, phase) => sum + phase.steps.length, 0);
  const plan = (storyboards) => {
    const fresh = storyboards.filter((one) => !progress.planned.has(one.id));
    for (const one of fresh) progress.planned.add(one.id);
    progress.total += fresh.reduce((sum, one) => sum + size(one), 0);
    if (fresh.length > 0) say({ at: "plan", storyboards: fresh.map(outline) });
  };
  const tell = (storyboard, title) =>
    say({ at: "step", storyboard: storyboard.title, step: title ?? "", done: progress.done, total: progress.total });

  // The last run was cut off before this one: what comes before it goes to the end.
  const begin = (storyboards) => {
    const at = storyboards.findIndex((one) => one.id === options.begin_at);
    if (at > 0) storyboards.push(...storyboards.splice(0, at));
  };

  const { resolveStoryboardsForCapabilities: declared, resolveBundleOrStoryboard: named } = library;
  library.resolveStoryboardsForCapabilities = (...args) => {
    const found = declared(...args);
    begin(found.storyboards);
    plan(found.storyboards);
    for (const one of found.not_applicable) progress.notApplicable = [...(progress.notApplicable ?? []), one];
    return found;
  };
  library.resolveBundleOrStoryboard = (...args) => {
    const found = named(...args);
    begin(found);
    plan(found);
    return found;
  };

  lib("testing/storyboard/assertions.js").registerAssertion({
    id: "assay.progress",
    description: "tells how far the run is; judges nothing",
    default: true,
    onStep: async (context, result) => {
      progress.exchanges.set(`${result.phase_id}/${result.step_id}`, await wire.take());
      progress.done += 1;
      tell(context.storyboard, result.next?.title);
      return [];
    },
  });

  const { runStoryboard } = runner;
  runner.runStoryboard = async (url, storyboard, run) => {
    plan([storyboard]);
    const before = progress.done;
    progress.exchanges.clear();
    tell(storyboard, storyboard.phases[0]?.steps[0]?.title);
    const result = await runStoryboard(url, storyboard, run);
    progress.done = before + size(storyboard);
    say({ at: "storyboard", ...plain(storyboard, result, progress.exchanges, progress.keys, options) });
    return result;
  };
  return progress;
}

const outline = ({ id, title, track, phases }) => ({
  id,
  title,
  track: track ?? "",
  phases: phases.map((phase) => ({
    id: phase.id,
    title: phase.title,
    steps: phase.steps.map((step) => ({ id: step.id, title: step.title })),
  })),
});

// The ids to ask the runner for. A scenario's key ends with its phase; what is before that may hold slashes.
function storyboards(lib, { bundle, storyboard, chosen }) {
  if (chosen.length === 0 && storyboard === "") return bundle === "" ? undefined : [bundle];
  const known = lib("testing/storyboard/compliance.js").listAllComplianceStoryboards().map((one) => one.id);
  if (chosen.length === 0) return known.filter((id) => id.replaceAll(/[/_]/g, "-") === storyboard);
  return [...new Set(chosen.map((key) => (known.includes(key) ? key : key.slice(0, key.lastIndexOf("/")))))];
}

async function main() {
  const options = await asked();
  const load = createRequire(path.join(options.sdk, "package.json"));
  const lib = (file) => load(path.join(options.sdk, "dist/lib", file));
  replaceDispatchers(load("undici"));
  if (options.parsed !== "") parseOnce(load("yaml"), options.parsed);
  const wire = new Wire(options.url, options);
  wire.start();
  lib("testing/client.js").setAgentTesterLogger({ info() {}, error() {}, warn() {}, debug() {} });
  const { comply, buildComplianceSummary } = lib("testing/compliance/index.js");
  const { ADCP_VERSION, LIBRARY_VERSION } = lib("version.js");
  const progress = listen(lib, wire, options);
  say({ at: "start", labels: lib("testing/compliance/storyboard-tracks.js").TRACK_LABELS });
  const protocol = options.protocol || (await lib("utils/protocol-detection.js").detectProtocol(options.url));
  const wanted = storyboards(lib, options);
  if (wanted?.length === 0) throw new Error(`there is no storyboard ${options.storyboard}`);
  const result = await comply(options.url, {
    protocol,
    storyboards: wanted,
    timeout_ms: options.timeout_ms,
    ...(options.auth && { auth: options.auth }),
    ...(options.allow_http && { allow_http: true }),
  });
  say({
    at: "end",
    protocol,
    profile: result.agent_profile,
    server: await wire.server(),
    refused: await wire.refused(),
    headline: result.summary.headline,
    tracks: result.tracks.map(({ track, status, label }) => ({ track, status, label })),
    observations: result.observations.map(({ category, severity, message }) => ({ category, severity, message })),
    controller: result.controller_detected === true,
    not_applicable: progress.notApplicable ?? [],
    summary: buildComplianceSummary(result, { sdkVersion: LIBRARY_VERSION, adcpVersion: ADCP_VERSION }),
  });
}

// prepare.cjs loads this file without running it.
if (require.main === module) {
  main()
    .catch((error) => say({ at: "error", name: error?.name ?? "", code: error?.code ?? "", message: String(error?.message ?? error) }))
    .then(() => process.stdout.write("", () => process.exit(0)));
}
