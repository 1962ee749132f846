package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"muniment.dev/muniment/conductor/triage/route"
	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/rpcdetail"
)

const typeJSON, typeProto = "application/json", "application/x-protobuf"

// An exporter is one of the services of OTLP.
type exporter struct {
	source    string // of signals
	path      string // of OTLP over HTTP
	procedure string // of gRPC
	parse     func(i *signal.OTLP) func(body []byte, json bool) (*signal.Message, error)
	answer    func(a *Answer) (proto, json func() ([]byte, error))
}

func (i *Intake) exporters() []exporter {
	return []exporter{
		{signal.OTLPLogs, "/v1/logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
			func(o *signal.OTLP) func([]byte, bool) (*signal.Message, error) {
				return func(body []byte, json bool) (*signal.Message, error) { return o.ParseLogs(body, json, i.Now()) }
			},
			func(a *Answer) (proto, json func() ([]byte, error)) {
				r := plogotlp.NewExportResponse()
				if reason := a.reason(); reason != "" {
					r.PartialSuccess().SetRejectedLogRecords(a.rejected())
					r.PartialSuccess().SetErrorMessage(reason)
				}
				return r.MarshalProto, r.MarshalJSON
			}},
		{signal.OTLPTraces, "/v1/traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
			func(o *signal.OTLP) func([]byte, bool) (*signal.Message, error) {
				return func(body []byte, json bool) (*signal.Message, error) { return o.ParseTraces(body, json, i.Now()) }
			},
			func(a *Answer) (proto, json func() ([]byte, error)) {
				r := ptraceotlp.NewExportResponse()
				if reason := a.reason(); reason != "" {
					r.PartialSuccess().SetRejectedSpans(a.rejected())
					r.PartialSuccess().SetErrorMessage(reason)
				}
				return r.MarshalProto, r.MarshalJSON
			}},
	}
}

func (a *Answer) rejected() int64 { return int64(len(a.Refused) + a.More) }

// reason returns the first reason to refuse a record.
func (a *Answer) reason() string {
	if len(a.Refused) == 0 {
		return ""
	}
	return fmt.Sprintf("record %d: %s", a.Refused[0].Alert, a.Refused[0].Reason)
}

// none is the failure of an input that is not configured.
var none = &failure{status: http.StatusNotFound, result: route.Invalid, reason: "this input is not configured: add it to the file of inputs"}

// overHTTP serves OTLP over HTTP.
func (i *Intake) overHTTP(e exporter) http.Handler {
	return &input{
		Intake: i, name: e.source,
		parse: func(r *http.Request, body []byte) (*signal.Message, error) {
			otlp := i.inputs.Load().OTLP
			if otlp == nil {
				return nil, none
			}
			of, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
			if err != nil || of != typeJSON && of != typeProto {
				return nil, &failure{status: http.StatusUnsupportedMediaType, result: route.Invalid, reason: "the content type must be " + typeProto + " or " + typeJSON}
			}
			return e.parse(otlp)(body, of == typeJSON)
		},
		answer: func(w http.ResponseWriter, r *http.Request, a *Answer) {
			toProto, toJSON := e.answer(a)
			of, make := typeProto, toProto
			if isJSON(r) {
				of, make = typeJSON, toJSON
			}
			body, err := make()
			if err != nil {
				http.Error(w, "internal error", http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", of)
			_, _ = w.Write(body) // the sender has gone
		},
		refuse: func(w http.ResponseWriter, r *http.Request, f *failure) {
			status := &statuspb.Status{Code: int32(f.code()), Message: f.reason}
			of, body := typeProto, []byte(nil)
			if isJSON(r) {
				of = typeJSON
				body, _ = protojson.Marshal(status) // it has no field that fails
			} else {
				body, _ = proto.Marshal(status)
			}
			w.Header().Set("Content-Type", of)
			w.WriteHeader(f.status)
			_, _ = w.Write(body) // the sender has gone
		},
	}
}

func isJSON(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), typeJSON)
}

// code returns the code of gRPC.
func (f *failure) code() codes.Code {
	switch f.status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return codes.Unavailable
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusRequestEntityTooLarge:
		return codes.ResourceExhausted
	case http.StatusNotFound:
		return codes.Unimplemented
	}
	return codes.InvalidArgument
}

// A raw message is not decoded by the codec, because its bounds are checked
// first.
type raw struct{ data []byte }

// rawCodec passes messages through.
type rawCodec struct{}

// Name implements connect.Codec.
func (rawCodec) Name() string { return "proto" }

// Marshal implements connect.Codec.
func (rawCodec) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case *raw:
		return v.data, nil
	case proto.Message: // the status of an error
		return proto.Marshal(v)
	}
	return nil, fmt.Errorf("no codec for %T", v)
}

// Unmarshal implements connect.Codec.
func (rawCodec) Unmarshal(data []byte, v any) error {
	r, ok := v.(*raw)
	if !ok {
		return fmt.Errorf("no codec for %T", v)
	}
	r.data = bytes.Clone(data)
	return nil
}

// overGRPC serves OTLP over gRPC.
func (i *Intake) overGRPC(e exporter) http.Handler {
	options := []connect.HandlerOption{connect.WithCodec(rawCodec{}), connect.WithReadMaxBytes(signal.MaxMessage)}
	refusals := connect.NewErrorWriter(options...)
	handler := connect.NewUnaryHandler(e.procedure, func(ctx context.Context, req *connect.Request[raw]) (*connect.Response[raw], error) {
		sender, _ := i.senders.Load().Of(req.Header())
		answer, err := i.export(ctx, e, sender, req.Msg.data)
		if err != nil {
			return nil, connectError(err)
		}
		toProto, _ := e.answer(answer)
		body, err := toProto()
		return connect.NewResponse(&raw{body}), err
	}, options...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sender, ok := i.senders.Load().Of(r.Header)
		if !ok {
			i.Metrics.Message(e.source, route.Unknown, route.Unauthorized, 0)
			_ = refusals.Write(w, r, connectError(unauthorized)) // the sender has gone
			return
		}
		if err := i.limited(sender, http.StatusTooManyRequests); err != nil {
			i.account(e.source, sender, 0, err)
			_ = refusals.Write(w, r, connectError(err)) // the sender has gone
			return
		}
		release, ok := i.hold(sender, signal.MaxMessage)
		if !ok {
			i.Metrics.Message(e.source, sender, route.Busy, 0)
			_ = refusals.Write(w, r, connectError(busy(route.ErrBusy))) // the sender has gone
			return
		}
		defer release()
		handler.ServeHTTP(w, r)
	})
}

// export applies a message that came over gRPC.
func (i *Intake) export(ctx context.Context, e exporter, sender string, body []byte) (*Answer, error) {
	answer, err := func() (*Answer, error) {
		otlp := i.inputs.Load().OTLP
		if otlp == nil {
			return nil, none
		}
		m, err := e.parse(otlp)(body, false)
		if err != nil {
			return nil, invalid(err)
		}
		return i.deliver(ctx, e.source, sender, m)
	}()
	i.account(e.source, sender, len(body), err)
	return answer, err
}

func connectError(err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	failed := connect.NewError(connect.Code(f.code()), errors.New(f.reason))
	if f.code() != codes.Unavailable {
		return failed
	}
	// With this detail, exporters wait for as long.
	return rpcdetail.Add(failed, &errdetails.RetryInfo{RetryDelay: durationpb.New(max(f.after, time.Second))})
}
