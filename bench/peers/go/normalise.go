package main

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fastjson"
)

var secretName = regexp.MustCompile(
	`auth|token|secret|sign|hmac|password|cookie|session|credential|api-key|apikey|access-key`)

var idHeaders = []string{
	"Webhook-Id", "Svix-Id", "X-Github-Delivery", "X-Shopify-Webhook-Id", "Idempotency-Key",
}

var segmentTypes = map[string]bool{
	"track": true, "identify": true, "page": true, "screen": true, "group": true, "alias": true,
}

// delivery is one request: what all of its events share, already as JSON where it is written once for each.
type delivery struct {
	id, source, remote, receivedAt, headerID, headerIDFrom string
	headers                                                []byte
	batchSize                                              int
	events                                                 []event
	rejected                                               []int
	done                                                   chan error
}

// event is one normalised event: its id, and the nine fields as JSON up to the number, which its commit gives.
type event struct {
	id, kind string
	json     []byte
	index    int
}

func newDelivery(start, source string, ctx *fasthttp.RequestCtx) *delivery {
	d := &delivery{
		id:         nextDeliveryID(start),
		source:     source,
		remote:     ctx.RemoteIP().String(),
		receivedAt: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		headers:    keptHeaders(ctx),
		done:       make(chan error, 1),
	}
	for _, name := range idHeaders {
		if value := ctx.Request.Header.Peek(name); len(value) > 0 {
			d.headerID, d.headerIDFrom = string(value), "header."+strings.ToLower(name)
			break
		}
	}
	return d
}

func keptHeaders(ctx *fasthttp.RequestCtx) []byte {
	out := []byte{'{'}
	ctx.Request.Header.VisitAll(func(key, value []byte) {
		name := strings.ToLower(string(key))
		kept := name == "content-type" || name == "user-agent" || name == "traceparent" ||
			strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "webhook-")
		if !kept || secretName.MatchString(name) {
			return
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = appendString(out, name)
		out = append(out, ':')
		out = appendString(out, string(value))
	})
	return append(out, '}')
}

// readItems takes the events out of the body and returns how many are good.
func (d *delivery) readItems(body *fastjson.Value) int {
	items, batched := []*fastjson.Value{body}, false
	if d.source == "webhook" && body.Type() == fastjson.TypeArray {
		items, batched = body.GetArray(), true
	} else if batch := body.Get("batch"); d.source == "segment" && batch != nil {
		items, batched = batch.GetArray(), true
	}
	d.batchSize = len(items)
	d.events = make([]event, 0, len(items))
	if batched {
		d.headerID = ""
	}
	for index, item := range items {
		if d.source == "segment" && batched {
			fillIn(item, body, "context")
			fillIn(item, body, "integrations")
		}
		if !d.readItem(index, item) {
			d.rejected = append(d.rejected, index)
		}
	}
	return len(d.events)
}

func fillIn(item, body *fastjson.Value, key string) {
	if value := body.Get(key); value != nil && item.Type() == fastjson.TypeObject && !item.Exists(key) {
		item.Set(key, value)
	}
}

func (d *delivery) readItem(index int, item *fastjson.Value) bool {
	if item.Type() != fastjson.TypeObject {
		return false
	}
	var id, idFrom, providerID, kind string
	payload := item
	if d.source == "segment" {
		kind = string(item.GetStringBytes("type"))
		if !segmentTypes[kind] {
			return false
		}
		id, idFrom = text(item.Get("messageId")), "body.messageId"
		providerID = id
	} else {
		kind = "unknown"
		if value := item.Get("event_type"); value != nil {
			if kind = string(value.GetStringBytes()); kind == "" || len(kind) > 256 {
				return false
			}
		}
		id, idFrom = text(item.Get("inbound_event_id")), "body.inbound_event_id"
		if providerID = text(item.Get("provider_event_id")); providerID == "" {
			providerID = text(item.Get("id"))
		}
		if id == "" && d.headerID != "" {
			id, idFrom = d.headerID, d.headerIDFrom
		}
		if value := item.Get("payload"); value != nil {
			payload = value
		}
	}
	if id == "" {
		id, idFrom = d.id+"-"+strconv.Itoa(index), "generated"
	}
	if len(id) > 512 {
		return false
	}
	d.events = append(d.events, event{id, kind, d.normalised(index, id, idFrom, providerID, kind, payload), index})
	return true
}

func text(value *fastjson.Value) string {
	if value == nil {
		return ""
	}
	if value.Type() == fastjson.TypeNumber {
		if number, err := value.Uint64(); err == nil {
			return strconv.FormatUint(number, 10)
		}
	}
	return string(value.GetStringBytes())
}

func (d *delivery) normalised(index int, id, idFrom, providerID, kind string, payload *fastjson.Value) []byte {
	out := make([]byte, 0, 1024)
	out = appendField(out, `{"inbound_event_id":`, id)
	out = appendField(out, `,"source_config_id":`, d.source)
	out = appendField(out, `,"source_type":`, d.source)
	if providerID == "" {
		out = append(out, `,"provider_event_id":null`...)
	} else {
		out = appendField(out, `,"provider_event_id":`, providerID)
	}
	out = appendField(out, `,"event_type":`, kind)
	out = appendField(out, `,"received_at":`, d.receivedAt)
	out = append(out, `,"payload":`...)
	out = payload.MarshalTo(out)
	out = append(out, `,"headers":`...)
	out = append(out, d.headers...)
	out = appendField(out, `,"meta":{"id_from":`, idFrom)
	out = append(out, `,"batch_index":`...)
	out = strconv.AppendInt(out, int64(index), 10)
	out = append(out, `,"batch_size":`...)
	out = strconv.AppendInt(out, int64(d.batchSize), 10)
	out = appendField(out, `,"delivery":`, d.id)
	out = appendField(out, `,"remote_addr":`, d.remote)
	return append(out, `,"number":`...)
}

func appendField(out []byte, name, value string) []byte {
	return appendString(append(out, name...), value)
}
