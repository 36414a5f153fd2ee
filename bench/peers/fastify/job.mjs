// The job of bench/peers/same_job.py in JavaScript: everything but HTTP.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { open } from 'lmdb'

const EVENTS_PER_SECOND = 10_000_000
const ID_HEADERS = ['webhook-id', 'svix-id', 'x-github-delivery', 'x-shopify-webhook-id', 'idempotency-key']
const SECRET = /auth|token|secret|sign|hmac|password|cookie|session|credential|api-key|apikey|access-key/
const SEGMENT_TYPES = new Set(['track', 'identify', 'page', 'screen', 'group', 'alias'])

const digest = (text) => createHash('sha256').update(text).digest()

/** At most one second's worth at once; time in nanoseconds. */
class Gcra {
  cost = 1e9 / EVENTS_PER_SECOND
  fullAt = 0

  take(n) {
    const now = Number(process.hrtime.bigint())
    const fullAt = Math.max(this.fullAt, now)
    const fits = Math.min(n, Math.floor((now + 1e9 - fullAt) / this.cost))
    this.fullAt = fullAt + fits * this.cost
    return fits
  }
}

export class Intake {
  #tokenDigest
  #limits = new Map([['webhook', new Gcra()], ['segment', new Gcra()]])
  #start = randomBytes(3).toString('hex')
  #count = 0

  constructor(token) {
    this.#tokenDigest = digest(token)
  }

  allowed(source, authorization = '') {
    const found = digest(authorization.replace(/^Bearer /, ''))
    return timingSafeEqual(found, this.#tokenDigest) && this.#limits.has(source)
  }

  /** The delivery; without events where no item is one. */
  read(source, headers, body, remote) {
    const id = `${String(++this.#count).padStart(13, '0')}-${this.#start}`
    const delivery = { id, source, events: [], rejected: [], deferred: 0 }
    let items = [body]
    let batched = false
    let shared = null
    if (source === 'webhook') {
      if (Array.isArray(body)) [items, batched] = [body, true]
    } else if (Array.isArray(body?.batch)) {
      ;[items, batched] = [body.batch, true]
      for (const key of ['context', 'integrations']) if (key in body) shared = { ...shared, [key]: body[key] }
    }
    const kept = keptHeaders(headers)
    const header = batched ? undefined : ID_HEADERS.find((name) => headers[name] !== undefined)
    const receivedAt = new Date().toISOString()
    items.forEach((item, index) => {
      const isObject = typeof item === 'object' && item !== null && !Array.isArray(item)
      const facts = isObject && (source === 'segment' ? segment(item) : webhook(item, header, headers))
      if (!facts) {
        delivery.rejected.push({ index, code: 'invalid_event', message: 'no event' })
        return
      }
      delivery.events.push({
        inbound_event_id: facts.id ?? `${id}-${index}`,
        source_config_id: source,
        source_type: source,
        provider_event_id: facts.providerId,
        event_type: facts.type,
        received_at: receivedAt,
        payload: shared ? { ...shared, ...facts.payload } : facts.payload,
        headers: kept,
        meta: {
          id_from: facts.idFrom, batch_index: index, batch_size: items.length, delivery: id, remote_addr: remote,
          number: 0,
        },
      })
    })
    const admitted = this.#limits.get(source).take(delivery.events.length)
    delivery.deferred = delivery.events.length - admitted
    delivery.events.length = admitted
    return delivery
  }
}

function keptHeaders(headers) {
  const kept = {}
  for (const [name, value] of Object.entries(headers)) {
    const known = name === 'content-type' || name === 'user-agent' || name === 'traceparent'
    if ((known || name.startsWith('x-') || name.startsWith('webhook-')) && !SECRET.test(name)) kept[name] = value
  }
  return kept
}

function segment(item) {
  if (!SEGMENT_TYPES.has(item.type)) return null
  const id = text(item.messageId)
  return { id, idFrom: id ? 'body.messageId' : 'generated', providerId: id, type: item.type, payload: item }
}

function webhook(item, header, headers) {
  const type = item.event_type ?? 'unknown'
  if (typeof type !== 'string' || type.length < 1 || type.length > 256) return null
  let id = text(item.inbound_event_id)
  let idFrom = 'body.inbound_event_id'
  if (id === null) [id, idFrom] = header ? [headers[header], `header.${header}`] : [null, 'generated']
  const providerId = text(item.provider_event_id) ?? text(item.id)
  return { id, idFrom, providerId, type, payload: 'payload' in item ? item.payload : item }
}

function text(value) {
  if (Number.isInteger(value) && value >= 0) return String(value)
  return typeof value === 'string' && value.length > 0 && value.length <= 512 ? value : null
}

/** The store: archive by number, receipts by digest of source and id, and number. One group is in flight at a time. */
export class Committer {
  #waiting = []
  #running = false
  #seen = new Set()
  #number = 0

  constructor(path) {
    this.root = open({ path, mapSize: 64 * 2 ** 30, maxDbs: 2 })
    this.archive = this.root.openDB({ name: 'archive', keyEncoding: 'uint32', encoding: 'string' })
    this.receipts = this.root.openDB({ name: 'receipts', keyEncoding: 'binary', encoding: 'string' })
    for (const key of this.receipts.getKeys()) {
      this.#seen.add(key.toString('latin1', 0, 16))
      this.#number = Math.max(this.#number, key.readUInt32BE(16))
    }
  }

  /** Resolves when the delivery is on disk. */
  commit(delivery) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ delivery, resolve, reject })
      if (!this.#running) this.#run()
    })
  }

  async #run() {
    this.#running = true
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      try {
        await this.#write(group)
        for (const each of group) each.resolve()
      } catch (error) {
        for (const each of group) each.reject(error)
      }
    }
    this.#running = false
  }

  async #write(group) {
    const finishedAt = new Date().toISOString()
    const fresh = []
    const written = this.root.batch(() => {
      for (const { delivery } of group) {
        for (const event of delivery.events) this.#put(delivery, event, finishedAt, fresh)
      }
    })
    try {
      await written
      await this.root.flushed
    } catch (error) {
      for (const known of fresh) this.#seen.delete(known)
      throw error
    }
  }

  #put(delivery, event, finishedAt, fresh) {
    const number = ++this.#number
    event.meta.number = number
    const key = Buffer.alloc(20)
    digest(`${delivery.source}\0${event.inbound_event_id}`).copy(key, 0, 0, 16)
    key.writeUInt32BE(number, 16)
    const known = key.toString('latin1', 0, 16)
    const duplicate = this.#seen.has(known)
    if (!duplicate) {
      this.#seen.add(known)
      fresh.push(known)
    }
    this.archive.put(number, JSON.stringify(event))
    this.receipts.put(key, JSON.stringify({
      inbound_event_id: event.inbound_event_id,
      source_config_id: delivery.source,
      outcome: duplicate ? 'duplicate' : 'processed',
      event_type: event.event_type,
      received_at: event.received_at,
      finished_at: finishedAt,
      attempts: 1,
      delivery: delivery.id,
      batch_index: event.meta.batch_index,
    }))
  }
}
