// Peer: Go with fasthttp, fastjson (its strict validator first) and Badger with synchronous writes.
//
//	go run . PORT DIRECTORY TOKEN
//
// The same job as Tidegate: bearer check, parse, normalise to the nine fields, rate limit, dedup, archive and receipt,
// one durable write for all that came during the last one, then the 200.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log"
	"math/rand"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fastjson"
)

const (
	bodyBytesMax    = 1 << 20
	decodedBytesMax = 4 << 20
	eventsPerSecond = 10_000_000
)

var (
	route  = []byte("/ingest/inbound/")
	bearer = []byte("Bearer ")
)

type gateway struct {
	tokenDigest [32]byte
	start       string
	limits      map[string]*gcra
	committer   *committer
	parsers     fastjson.ParserPool
}

// gcra admits at most a burst of one second's worth; shared by all requests of a source.
type gcra struct {
	sync.Mutex
	cost, tolerance, fullAt int64
}

func (g *gcra) take(n int) int {
	g.Lock()
	defer g.Unlock()
	now := time.Now().UnixNano()
	if g.fullAt < now {
		g.fullAt = now
	}
	fits := (now + g.tolerance - g.fullAt) / g.cost
	if fits > int64(n) {
		fits = int64(n)
	}
	g.fullAt += fits * g.cost
	return int(fits)
}

func (g *gateway) serve(ctx *fasthttp.RequestCtx) {
	path := ctx.Path()
	if !bytes.HasPrefix(path, route) {
		refuse(ctx, 404, "not_found")
		return
	}
	if !ctx.IsPost() {
		refuse(ctx, 405, "method_not_allowed")
		return
	}
	source := string(path[len(route):])
	limit := g.limits[source]
	authorization := ctx.Request.Header.Peek("Authorization")
	digest := sha256.Sum256(bytes.TrimPrefix(authorization, bearer))
	if subtle.ConstantTimeCompare(digest[:], g.tokenDigest[:]) != 1 || limit == nil {
		refuse(ctx, 401, "unauthorized")
		return
	}
	body, ok := decoded(ctx)
	if !ok {
		refuse(ctx, 400, "invalid_encoding")
		return
	}
	if len(body) > decodedBytesMax {
		refuse(ctx, 413, "too_large")
		return
	}
	if fastjson.ValidateBytes(body) != nil {
		refuse(ctx, 400, "invalid_json")
		return
	}
	parser := g.parsers.Get()
	defer g.parsers.Put(parser)
	parsed, err := parser.ParseBytes(body)
	if err != nil {
		refuse(ctx, 400, "invalid_json")
		return
	}
	d := newDelivery(g.start, source, ctx)
	if d.readItems(parsed) == 0 {
		refuse(ctx, 400, "invalid_event")
		return
	}
	admitted := limit.take(len(d.events))
	deferred := len(d.events) - admitted
	d.events = d.events[:admitted]
	if err := g.committer.commit(d); err != nil {
		ctx.Response.Header.Set("Retry-After", "5")
		refuse(ctx, 503, "storage_failed")
		return
	}
	answer(ctx, d, admitted, deferred)
}

func decoded(ctx *fasthttp.RequestCtx) ([]byte, bool) {
	encoding := ctx.Request.Header.Peek("Content-Encoding")
	if len(encoding) == 0 {
		return ctx.PostBody(), true
	}
	if string(encoding) != "gzip" {
		return nil, false
	}
	body, err := ctx.Request.BodyGunzip()
	return body, err == nil
}

func refuse(ctx *fasthttp.RequestCtx, status int, code string) {
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	fmt.Fprintf(ctx, `{"code":%q,"message":%q}`, code, code)
}

func answer(ctx *fasthttp.RequestCtx, d *delivery, admitted, deferred int) {
	ctx.SetContentType("application/json")
	out := append([]byte(nil), `{"status":"accepted","accepted":`...)
	out = strconv.AppendInt(out, int64(admitted), 10)
	out = append(out, `,"deferred":`...)
	out = strconv.AppendInt(out, int64(deferred), 10)
	out = append(out, `,"dropped":0,"rejected":[`...)
	for i, index := range d.rejected {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"index":`...)
		out = strconv.AppendInt(out, int64(index), 10)
		out = append(out, `,"code":"invalid_event","message":"no event"}`...)
	}
	out = append(out, `],"delivery":"`...)
	out = append(out, d.id...)
	out = append(out, '"')
	if d.source == "segment" {
		out = append(out, `,"success":true`...)
	}
	ctx.SetBody(append(out, '}'))
}

func main() {
	port, directory, token := os.Args[1], os.Args[2], os.Args[3]
	committer, err := openCommitter(directory)
	if err != nil {
		log.Fatal(err)
	}
	newLimit := func() *gcra { return &gcra{cost: 1e9 / eventsPerSecond, tolerance: 1e9} }
	g := &gateway{
		tokenDigest: sha256.Sum256([]byte(token)),
		start:       fmt.Sprintf("%06x", rand.New(rand.NewSource(time.Now().UnixNano())).Intn(1<<24)),
		limits:      map[string]*gcra{"webhook": newLimit(), "segment": newLimit()},
		committer:   committer,
	}
	server := &fasthttp.Server{Handler: g.serve, MaxRequestBodySize: bodyBytesMax, NoDefaultServerHeader: true}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		committer.close()
		os.Exit(0)
	}()
	fmt.Println("ready http://127.0.0.1:" + port)
	log.Fatal(server.ListenAndServe("127.0.0.1:" + port))
}
