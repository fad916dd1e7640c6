// Does once, when the package is installed, what each run would do again: parses the storyboards, and loads what a run
// loads, so that Node keeps it compiled where NODE_COMPILE_CACHE says.
//
// Argument 1 is the package's folder, argument 2 the file to write: texts by their SHA-256, parsed, as JSON.
"use strict";

const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");
const { isDeepStrictEqual } = require("node:util");

const [root, file] = process.argv.slice(2);
const load = createRequire(path.join(root, "package.json"));
const lib = (name) => load(path.join(root, "dist/lib", name));

// Whether a part of it is there twice, as YAML's aliases make it: copies of that would be two things.
function shares(value, seen = new Set()) {
  if (value === null || typeof value !== "object") return false;
  if (seen.has(value)) return true;
  seen.add(value);
  return Object.values(value).some((one) => shares(one, seen));
}

function parsed(folder) {
  const { parse } = load("yaml");
  const found = {};
  for (const name of fs.readdirSync(folder, { recursive: true })) {
    if (!/\.ya?ml$/.test(name)) continue;
    const text = fs.readFileSync(path.join(folder, name), "utf-8");
    let value;
    try {
      value = parse(text);
    } catch {
      continue; // the runner says what is wrong with it, if it ever reads it
    }
    const json = JSON.stringify(value);
    if (json === undefined || shares(value) || !isDeepStrictEqual(value, JSON.parse(json))) continue;
    found[createHash("sha256").update(text).digest("hex")] = json;
  }
  return found;
}

load("undici");
lib("testing/client.js");
lib("testing/compliance/index.js");
lib("testing/storyboard/runner.js");
lib("testing/storyboard/assertions.js");
lib("testing/compliance/storyboard-tracks.js");
lib("utils/protocol-detection.js");
require("./driver.cjs");
fs.writeFileSync(file, JSON.stringify(parsed(path.join(root, "compliance", "cache"))));
