package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/internal/bounded"
)

// Prometheus takes samples by instant queries, evaluated at the end of the
// window.
type Prometheus struct {
	URL     string       // of the server, without /api; can contain credentials
	Client  *http.Client // sets a timeout; must not be nil
	Metrics []Metric
}

// A Metric is a check with its two queries in PromQL. They may contain these
// placeholders:
//
//	$window  duration of the window, as in rate(requests_total[$window])
//	$start   its start, as in sum(requests_total @ $start)
//	$end     its end
//
// increase() and rate() extrapolate. The difference of a counter at $end and at
// $start does not, but has no result after a restart of the service.
type Metric struct {
	Check      string
	Kind       aca.Kind
	Value, Per string
}

// Begin returns the function that queries. Nothing needs to be measured before.
func (p *Prometheus) Begin(context.Context) (End, error) { return p.end, nil }

func (p *Prometheus) end(ctx context.Context, start, end time.Time) (map[string]aca.Sample, error) {
	samples := map[string]aca.Sample{}
	var errs []error
	for _, m := range p.Metrics {
		s, err := p.sample(ctx, m, start, end)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("check %s: %w", m.Check, err))
		case isNumber(s.Value) && isNumber(s.Per):
			samples[m.Check] = s
		}
	}
	return samples, errors.Join(errs...)
}

func (p *Prometheus) sample(ctx context.Context, m Metric, start, end time.Time) (s aca.Sample, err error) {
	fill := strings.NewReplacer(
		"$window", strconv.FormatInt(end.Sub(start).Milliseconds(), 10)+"ms",
		"$start", timestamp(start), "$end", timestamp(end))
	if s.Value, err = p.query(ctx, fill.Replace(m.Value), end); err != nil {
		return s, err
	}
	if s.Per, err = p.query(ctx, fill.Replace(m.Per), end); err != nil {
		return s, err
	}
	if m.Kind == aca.Errors { // whole numbers, of which increase() makes fractions
		s.Value, s.Per = math.Round(s.Value), math.Round(s.Per)
	}
	return s, nil
}

// timestamp returns a time as PromQL and the API have it: seconds with
// milliseconds.
func timestamp(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

// maxAnswer is the largest answer of Prometheus in bytes. An answer has one
// number, with the labels of its series.
const maxAnswer = 1 << 20

// query returns the number in the result, or NaN if the result is empty.
func (p *Prometheus) query(ctx context.Context, expression string, at time.Time) (float64, error) {
	server, err := url.Parse(strings.TrimSuffix(p.URL, "/") + "/api/v1/query")
	if err != nil {
		return 0, errors.New("prometheus: the URL is invalid") // the error quotes it
	}
	// Errors of requests contain their URL.
	credentials := server.User
	server.User = nil
	form := url.Values{"query": {expression}, "time": {timestamp(at)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return 0, fmt.Errorf("prometheus: %w", err)
	}
	if credentials != nil {
		password, _ := credentials.Password()
		req.SetBasicAuth(credentials.Username(), password)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := p.Client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("prometheus: %w", err)
	}
	defer res.Body.Close()
	text, err := bounded.ReadAll(res.Body, maxAnswer)
	if err != nil {
		return 0, fmt.Errorf("prometheus: read the answer to %.200q: %w", expression, err)
	}
	x, err := number(text)
	if err != nil {
		return 0, fmt.Errorf("prometheus: %.200q: HTTP %d: %w", expression, res.StatusCode, err)
	}
	return x, nil
}

// number returns the only number of an answer, or NaN if there is none.
func number(answer []byte) (float64, error) {
	var a struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return 0, fmt.Errorf("the answer is not that of Prometheus: %w", err)
	}
	if a.Status != "success" {
		return 0, fmt.Errorf("%.200s", a.Error)
	}
	type point [2]any // the time, and the value as a text
	var value point
	switch a.Data.ResultType {
	case "scalar":
		if err := json.Unmarshal(a.Data.Result, &value); err != nil {
			return 0, err
		}
	case "vector":
		var vector []struct{ Value point }
		if err := json.Unmarshal(a.Data.Result, &vector); err != nil {
			return 0, err
		}
		switch len(vector) {
		case 0:
			return math.NaN(), nil
		case 1:
			value = vector[0].Value
		default:
			return 0, fmt.Errorf("%d series: the query must result in one: aggregate them with sum()", len(vector))
		}
	default:
		return 0, fmt.Errorf("result of the type %.20s: must be a vector or a scalar", a.Data.ResultType)
	}
	digits, ok := value[1].(string)
	if !ok {
		return 0, errors.New("the result has no number: it must not be a histogram")
	}
	return strconv.ParseFloat(digits, 64)
}
