// Loaded before an official runner, so that all of its traffic goes through the run's proxy (V7).
//
// Node's own fetch and http heed the proxy of the environment. Code that makes a dispatcher of its own does not:
// such dispatchers are replaced here, and what still connects anywhere but to the proxy is refused.
"use strict";

const net = require("node:net");
const { createRequire } = require("node:module");

const proxy = new URL(process.env.HTTP_PROXY);
const proxyPort = Number(proxy.port);

function refuseWhatPassesTheProxyBy() {
  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (...given) {
    const [first, second] = Array.isArray(given[0]) ? given[0] : given;
    const wanted =
      first !== null && typeof first === "object"
        ? first
        : { port: first, host: typeof second === "string" ? second : "localhost" };
    if (!wanted.path && Number(wanted.port) === proxyPort && wanted.host === proxy.hostname) {
      return connect.apply(this, given);
    }
    const where = wanted.path ?? `${wanted.host ?? "localhost"}:${wanted.port}`;
    const error = new Error(`address not allowed: ${where} (not through the proxy of this run)`);
    error.code = "EACCES";
    process.nextTick(() => this.destroy(error));
    return this;
  };
}

// The packages of the program that is about to run may bring an undici of their own.
function undiciOfTheProgram() {
  if (!process.argv[1]) return null;
  try {
    return createRequire(require("node:fs").realpathSync(process.argv[1]))("undici");
  } catch (error) {
    if (error.code === "MODULE_NOT_FOUND" || error.code === "ENOENT") return null;
    throw error;
  }
}

function replaceDispatchers(undici) {
  const { ProxyAgent } = undici;
  const password = Buffer.from(`${proxy.username}:${proxy.password}`).toString("base64");
  // A `connect` that pins an address would make the connection to the proxy go there instead.
  undici.Agent = class extends ProxyAgent {
    constructor({ connect, factory, ...options } = {}) {
      const requestTls = typeof connect === "object" ? withoutPlace(connect) : undefined;
      super({ ...options, uri: proxy.origin, token: `Basic ${password}`, requestTls });
    }
  };
}

function withoutPlace({ lookup, host, port, socketPath, ...tls }) {
  return tls;
}

refuseWhatPassesTheProxyBy();
const undici = undiciOfTheProgram();
if (undici !== null) replaceDispatchers(undici);

// For programs that load a package from elsewhere, which has an undici of its own.
exports.replaceDispatchers = replaceDispatchers;
