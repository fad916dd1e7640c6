// Prints the storyboards that the npm package carries, as JSON: argument 1 is the package's folder.
"use strict";

const path = require("node:path");

const root = process.argv[2];
const { listBundles, loadBundleStoryboards, loadComplianceIndex } = require(
  path.join(root, "dist/lib/testing/storyboard/compliance.js"),
);
const index = loadComplianceIndex();
const titles = new Map([...index.specialisms, ...index.protocols].map((one) => [one.id, one.title]));

const step = ({ id, title, expected, doc_ref: doc }) => ({ id, title, expected, doc });
const storyboard = (one) => ({
  id: one.id,
  title: one.title,
  summary: one.summary,
  track: one.track ?? "",
  tools: one.required_tools ?? [],
  capability: one.requires_capability ?? null,
  scenarios: one.requires_scenarios ?? [],
  phases: one.phases.map((phase) => ({ id: phase.id, title: phase.title, steps: phase.steps.map(step) })),
});

process.stdout.write(
  JSON.stringify({
    adcp_version: index.adcp_version,
    bundles: listBundles()
      .map((ref) => ({ kind: ref.kind, id: ref.id, title: titles.get(ref.id), storyboards: loadBundleStoryboards(ref) }))
      .filter((bundle) => bundle.storyboards.length > 0)
      .map((bundle) => ({ ...bundle, storyboards: bundle.storyboards.map(storyboard) })),
  }),
);
