// Remembers the exchanges with the agent, which the runner's own records leave out: the request as it was
// sent, the status, the headers and, up to a size, the body that came. Also sees to it that the credential is
// sent to the agent's own origin and nowhere else: the runner puts it into headers that fetch would carry along
// to wherever an agent sends on to.
"use strict";

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const HOPS = 3;

class Wire {
  #send = globalThis.fetch;
  #latest = null;
  #opening = null;
  #refused = null;

  // header: {name, value} that the runner has no option for, or null. secrets: what no other origin may see.
  constructor(url, { header, secrets, cap }) {
    this.origin = new URL(url).origin;
    this.header = header;
    this.secrets = secrets;
    this.cap = cap; // characters of a body
  }

  start() {
    globalThis.fetch = (input, init) => this.#fetch(input, init);
  }

  // What was last exchanged with the agent since the last call, once its body is there; null for nothing.
  async take() {
    const latest = this.#latest;
    this.#latest = null;
    if (latest === null) return null;
    const { reading, ...seen } = latest;
    return { ...seen, body: await reading };
  }

  // The first exchange in which the agent refused the credential that it was sent; null when it refused none.
  async refused() {
    if (this.#refused === null) return null;
    const { reading, ...seen } = this.#refused;
    return { ...seen, body: await reading };
  }

  // What an MCP server said of itself when a session was opened; null when it said nothing.
  async server() {
    const text = (await this.#opening) ?? "";
    try {
      return JSON.parse(text.match(/^data: ?(.*)$/m)?.[1] ?? text).result ?? null;
    } catch {
      return null;
    }
  }

  async #fetch(input, init) {
    const url = String(input?.url ?? input);
    const started = performance.now();
    const response = await this.#follow(input, init, url).catch((error) => {
      this.#note(url, init, started, null);
      throw error;
    });
    this.#note(url, init, started, response);
    return response;
  }

  #ours(url) {
    return new URL(url).origin === this.origin;
  }

  // The headers as they may be sent to that address.
  #headers(url, headers) {
    const found = new Headers(headers);
    if (this.#ours(url)) {
      if (this.header !== null) found.set(this.header.name, this.header.value);
      return found;
    }
    for (const [name, value] of headers) if (this.secrets.some((secret) => value.includes(secret))) found.delete(name);
    return found;
  }

  async #follow(input, init, url) {
    if (this.secrets.length === 0) return this.#send(input, init);
    const headers = new Headers(init?.headers ?? input?.headers);
    let [where, address, options] = [input, url, { ...init }];
    for (let hop = 0; ; hop += 1) {
      const sent = { ...options, headers: this.#headers(address, headers), redirect: "manual" };
      const response = await this.#send(where, sent);
      const to = response.headers.get("location");
      const follows = REDIRECTS.has(response.status) && to !== null && init?.redirect !== "manual" && hop < HOPS;
      if (!follows) return response;
      where = address = new URL(to, address).href;
      if (response.status < 307 && options.method === "POST") options = { ...options, method: "GET", body: undefined };
    }
  }

  // Whether the credential went along: checks of how an agent guards itself send none, or one made up.
  #carried(init) {
    if (this.header !== null) return true;
    const sent = [...new Headers(init?.headers).values()];
    return sent.some((value) => this.secrets.some((secret) => value.includes(secret)));
  }

  #note(url, init, started, response) {
    if (!this.#ours(url)) return;
    const refused = this.#refused === null && [401, 403].includes(response?.status) && this.#carried(init);
    // The stream that a session keeps open in the other direction is nobody's answer.
    const asked = init?.method === "POST";
    if (!asked && !refused) return;
    const reading = response?.body ? this.#read(response.clone()) : Promise.resolve(null);
    const body = typeof init?.body === "string" ? init.body : null;
    if (response?.ok && body?.includes('"method":"initialize"')) this.#opening = reading;
    const seen = {
      method: init?.method ?? "GET",
      url,
      headers: [...new Headers(init?.headers)],
      sent: body,
      status: response?.status ?? null,
      received: response === null ? [] : [...response.headers],
      ms: Math.round(performance.now() - started),
      reading,
    };
    if (refused) this.#refused = seen;
    if (asked) this.#latest = seen;
  }

  async #read(response) {
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let text = "";
    // A stream that stays open has said what it had to when the runner has moved on.
    const late = new Promise((resolve) => setTimeout(resolve, 2000, { done: true }).unref());
    try {
      while (text.length < this.cap) {
        const { done, value } = await Promise.race([reader.read(), late]);
        if (done) break;
        text += decoder.decode(value, { stream: true });
      }
    } catch (error) {
      text += `\n[broken off: ${error.message}]`;
    }
    reader.cancel().catch(() => {});
    return text;
  }
}

exports.Wire = Wire;
