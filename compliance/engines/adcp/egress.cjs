// Keeps the official runner on the way through Assay's proxy, which checks every address.
//
// Node's own fetch goes through the proxy by its environment. The runner's probes do not: they bring
// connections of their own from the undici package, pinned to an address that nobody checked. They are given
// the proxy's instead, and whatever else opens a socket to anywhere but the proxy is refused.
"use strict";

const net = require("node:net");

function destination(args) {
  const first = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (first !== null && typeof first === "object") return first;
  return { port: first, host: typeof args[1] === "string" ? args[1] : "localhost" };
}

exports.only = function only(proxy, undici) {
  const { hostname, port } = new URL(proxy);
  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (...args) {
    const to = destination(args);
    if (!to.path && String(to.port) === port && (to.host ?? "localhost") === hostname) {
      return connect.apply(this, args);
    }
    process.nextTick(() => this.destroy(new Error("connections go through Assay's proxy only")));
    return this;
  };
  undici.Agent = function () {
    return new undici.ProxyAgent({ uri: proxy });
  };
};
