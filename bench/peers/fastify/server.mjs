// Peer: Fastify with lmdb-js, the job of job.mjs.
//
//   node server.mjs PORT DIRECTORY TOKEN

import { gunzipSync } from 'node:zlib'
import Fastify from 'fastify'
import { Committer, Intake } from './job.mjs'

const [port, directory, token] = process.argv.slice(2)
const intake = new Intake(token)
const committer = new Committer(directory)
const app = Fastify({ bodyLimit: 1 << 20, logger: false })

const refuse = (reply, status, code) => reply.code(status).send({ code, message: code })

app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
  try {
    done(null, JSON.parse(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body))
  } catch (error) {
    error.statusCode = 400
    done(error)
  }
})

app.route({
  method: 'POST',
  url: '/ingest/inbound/:source',
  // Before the body is read.
  onRequest: async (request, reply) => {
    if (!intake.allowed(request.params.source, request.headers.authorization)) return refuse(reply, 401, 'unauthorized')
  },
  handler: async (request, reply) => {
    const { source } = request.params
    const delivery = intake.read(source, request.headers, request.body, request.ip)
    if (delivery.events.length + delivery.deferred === 0) return refuse(reply, 400, 'invalid_event')
    try {
      await committer.commit(delivery)
    } catch {
      return refuse(reply.header('retry-after', '5'), 503, 'storage_failed')
    }
    const { events, deferred, rejected, id } = delivery
    const answer = { status: 'accepted', accepted: events.length, deferred, dropped: 0, rejected, delivery: id }
    return source === 'segment' ? { ...answer, success: true } : answer
  },
})

process.once('SIGTERM', () => process.exit(0))
await app.listen({ host: '127.0.0.1', port: Number(port) })
console.log(`ready http://127.0.0.1:${port}`)
