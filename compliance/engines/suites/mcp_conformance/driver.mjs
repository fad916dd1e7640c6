// Runs scenarios of the official MCP conformance runner in one process, and says what came of each.
//
// In: one JSON document on standard input (see `_order` in runner.py). Out: one JSON document a line on
// standard output: {"event": "start" | "scenario" | "broken" | "end", …}. The runner has no library interface:
// its command line is started once for each scenario, with a fresh copy of its one module.

import { readFile, readdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const REDIRECTS = [301, 302, 303, 307, 308]
const MAX_EXCHANGES = 40 // of one scenario
const MAX_CHECKS = 500 // of one scenario
const DRAIN_MS = 1000 // for answers that the runner left unread
const MAX_TEXT = 2000 // characters of one string in a check
const MAX_ITEMS = 100 // of one list or object in a check
const SCENARIO_SHARE = 8 // payloads' worth of evidence that one scenario may carry

const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const order = JSON.parse(Buffer.concat(chunks).toString('utf8'))

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')
// What the runner prints may quote the agent, and would stand among our lines.
for (const name of ['log', 'error', 'warn', 'info', 'debug']) console[name] = () => {}

let exchanges = []
let unread = []
let evidenceLeft = 0
let received = 0
const origin = new URL(order.url).origin

function record(method, url, headers, body) {
  const entry = { method, url, request_headers: headers, request_body: body, started: Date.now() }
  if (exchanges.length < MAX_EXCHANGES) exchanges.push(entry)
  return entry
}

function keep(entry, chunk) {
  entry.size = (entry.size ?? 0) + chunk.byteLength
  entry.parts ??= []
  const room = Math.min(2 * order.payload_bytes - (entry.kept ?? 0), evidenceLeft)
  if (room > 0) {
    const part = Buffer.from(chunk).subarray(0, room)
    entry.parts.push(part)
    entry.kept = (entry.kept ?? 0) + part.length
    evidenceLeft -= part.length
  }
  received += chunk.byteLength
  if (entry.size > order.response_bytes) return `the answer is larger than ${order.response_bytes} bytes`
  if (received > order.run_bytes) return `all answers together are larger than ${order.run_bytes} bytes`
  return ''
}

// The runner judges some answers by their status alone; what they say is evidence all the same.
async function drain() {
  const left = unread.filter((answer) => !answer.bodyUsed).map((answer) => answer.arrayBuffer().catch(() => {}))
  let timer
  const enough = new Promise((resolve) => (timer = setTimeout(resolve, DRAIN_MS)))
  await Promise.race([Promise.all(left), enough])
  clearTimeout(timer)
}

function finished() {
  return exchanges.map(({ parts, kept, started, ...rest }) => ({
    ...rest,
    response_body: parts ? Buffer.concat(parts).toString('base64') : '',
    ms: (rest.ended ?? Date.now()) - started
  }))
}

// The credential goes to the agent's own origin and nowhere else; a redirect is asked again from the start.
function withCredential(url, headers) {
  if (!order.credential || new URL(url).origin !== origin) return headers
  const sent = new Headers(headers)
  sent.set(order.credential.header, order.credential.value)
  return sent
}

const plainFetch = globalThis.fetch

async function send(url, init) {
  if (!order.credential) return plainFetch(url, init)
  let method = (init?.method ?? 'GET').toUpperCase()
  let body = init?.body
  for (let hops = 0; ; hops++) {
    const headers = withCredential(url, init?.headers)
    const answer = await plainFetch(url, { ...init, method, body, headers, redirect: 'manual' })
    const place = answer.headers.get('location')
    if (init?.redirect === 'manual') return answer // who asks so, as the SDK does, decides for itself
    if (!REDIRECTS.includes(answer.status) || !place) return answer
    await answer.body?.cancel()
    if (hops >= order.redirects) throw new TypeError('fetch failed: too many redirects')
    url = new URL(place, url).href
    if (answer.status === 303 || ([301, 302].includes(answer.status) && method === 'POST')) {
      method = 'GET'
      body = undefined
    }
  }
}

globalThis.fetch = async (input, init) => {
  const url = String(input instanceof Request ? input.url : input)
  const asked = new Headers(init?.headers)
  const entry = record(init?.method ?? 'GET', url, [...asked], typeof init?.body === 'string' ? init.body : '')
  let answer
  try {
    answer = await send(url, init)
  } catch (error) {
    entry.fault = String(error?.cause?.message ?? error?.message ?? error).slice(0, 300)
    entry.ended = Date.now()
    throw error
  }
  entry.status = answer.status
  entry.headers = [...answer.headers]
  entry.ended = Date.now()
  if (!answer.body) return answer
  const watched = answer.body.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        const tooMuch = keep(entry, chunk)
        entry.ended = Date.now()
        if (tooMuch) {
          entry.fault = tooMuch
          controller.error(new Error(tooMuch))
        } else controller.enqueue(chunk)
      }
    })
  )
  const copy = new Response(watched, { status: answer.status, statusText: answer.statusText, headers: answer.headers })
  Object.defineProperty(copy, 'url', { value: answer.url })
  if (!(answer.headers.get('content-type') ?? '').includes('text/event-stream')) unread.push(copy)
  return copy
}

// One scenario asks past fetch, to choose its own Host. The copy of undici that the runner loads is wrapped
// before the runner binds to it. The body stays with the runner, which writes it into the check's details.
const undici = createRequire(order.runner)('undici')
const plainRequest = undici.request
undici.request = async (url, options) => {
  const entry = record(options?.method ?? 'GET', String(url), Object.entries(options?.headers ?? {}), options?.body ?? '')
  const headers = { ...options?.headers }
  if (order.credential && new URL(url).origin === origin) headers[order.credential.header] = order.credential.value
  try {
    const answer = await plainRequest(url, { ...options, headers })
    entry.status = answer.statusCode
    entry.headers = Object.entries(answer.headers).map(([name, value]) => [name, String(value)])
    entry.ended = Date.now()
    return answer
  } catch (error) {
    entry.fault = String(error?.message ?? error).slice(0, 300)
    entry.ended = Date.now()
    throw error
  }
}

function small(value, depth = 0) {
  if (typeof value === 'string') return value.slice(0, MAX_TEXT)
  if (value === null || typeof value !== 'object') return value
  if (depth > 12) return null
  if (Array.isArray(value)) return value.slice(0, MAX_ITEMS).map((item) => small(item, depth + 1))
  const entries = Object.entries(value).slice(0, MAX_ITEMS)
  return Object.fromEntries(entries.map(([key, item]) => [key.slice(0, MAX_TEXT), small(item, depth + 1)]))
}

async function run(name, index) {
  exchanges = []
  unread = []
  evidenceLeft = SCENARIO_SHARE * order.payload_bytes
  const folder = join(order.folder, String(index))
  const started = Date.now()
  const code = await new Promise((resolve, reject) => {
    process.exit = resolve
    process.argv = [process.execPath, order.runner, 'server', '--url', order.url, '--scenario', name, '-o', folder]
    import(`${pathToFileURL(order.runner).href}?scenario=${index}`).catch(reject)
  })
  const ms = Date.now() - started
  await drain()
  let checks
  try {
    const [results] = await readdir(folder)
    checks = JSON.parse(await readFile(join(folder, results, 'checks.json'), 'utf8'))
  } catch (error) {
    say({ event: 'broken', scenario: name, reason: `no results (exit ${code}): ${error?.code ?? error?.name}` })
    return
  }
  // A record of the traffic is no check: the exchanges say it better.
  const said = checks.filter((check) => check.status !== 'INFO' || check.specReferences)
  say({
    event: 'scenario',
    scenario: name,
    ms,
    left_out: Math.max(0, said.length - MAX_CHECKS),
    checks: said.slice(0, MAX_CHECKS).map((check) => small(check)),
    exchanges: finished()
  })
}

const exit = process.exit.bind(process)
process.on('unhandledRejection', () => {}) // of a stream that nobody reads any more; the runner says what failed
const dispatcher = undici.getGlobalDispatcher()?.constructor?.name
if (dispatcher !== 'EnvHttpProxyAgent') {
  // Past the proxy nothing would hold the run to the addresses that it may use.
  say({ event: 'broken', scenario: '', reason: `requests would not go through the proxy (${dispatcher})` })
} else {
  for (const [index, name] of order.scenarios.entries()) {
    say({ event: 'start', scenario: name })
    await run(name, index)
  }
  say({ event: 'end', rss_mb: Math.ceil(process.memoryUsage.rss() / 1048576) })
}
await new Promise((resolve) => process.stdout.write('', resolve))
exit(0)
