package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/time/rate"

	"muniment.dev/muniment/clients/go/adaptivecache/cachecontrol"
)

// upstreamTimeout is the gateway's time limit for an origin.
const upstreamTimeout = time.Second

// normalLimit is the gateway's limit of requests per second before anybody
// changes it.
const normalLimit = 100

// A Gateway is the demo gateway. A request passes the limit, the rules of the
// firewall and the policy of quotas. Assets come from the cache or one of the
// replicas of their origin, and searches from another origin. There is a proxy
// with faults before each origin.
type Gateway struct {
	origins map[string]string // URL of the proxy of each replica
	client  *http.Client
	metrics *metrics
	cache   *cache

	mu      sync.Mutex
	random  *rand.Rand
	state   state // of the files
	limiter *rate.Limiter
	shedder *rate.Limiter      // protects the origin in an incident
	faults  map[*Fault]float64 // those in effect, with their strength
	next    int                // replica of assets
}

// replicas are those of the assets. Searches have one.
var replicas = []string{"assets-0", "assets-1", "assets-2"}

// Proxies returns the names of the proxies that a gateway needs.
func Proxies() []string { return append([]string{"search-0"}, replicas...) }

// NewGateway returns a gateway in front of proxies, whose URLs are given by
// name.
func NewGateway(origins map[string]string, seed uint64) *Gateway {
	return &Gateway{
		origins: origins, metrics: newMetrics(), cache: newCache(),
		client: &http.Client{Timeout: upstreamTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 10 * time.Second}},
		random: rand.New(rand.NewPCG(seed, 1)), faults: map[*Fault]float64{},
	}
}

// use applies the settings of the files.
func (g *Gateway) use(s state) {
	g.mu.Lock()
	defer g.mu.Unlock()
	limiter := func(of **rate.Limiter, key string, burst int) {
		if n := s.limits[key]; *of == nil || g.state.limits[key] != n {
			*of = rate.NewLimiter(rate.Limit(n), burst)
		}
	}
	limiter(&g.limiter, "gateway", int(s.limits["gateway"])/2+1)
	limiter(&g.shedder, "origin", int(s.limits["origin"])/5+1)
	g.state = s
	g.metrics.limit.Set(s.limits["gateway"])
	g.metrics.shedding.Set(0)
	if n := s.limits["origin"]; n < noShedding {
		g.metrics.shedding.Set(n)
	}
}

// A failure is the status of a request that failed, and the stage of the
// gateway at which it did.
type failure struct {
	stage  string
	status int
}

func (f failure) Error() string { return fmt.Sprintf("%s: status %d", f.stage, f.status) }

// Stages at which a request fails.
const (
	stageLimit    = "limit"    // the limit
	stageShedding = "shedding" // the second limit
	stageRules    = "rules"    // the rules of the firewall
	stagePolicy   = "policy"   // the policy of quotas
	stageOrigin   = "origin"   // an origin answered with an error
	stageConnect  = "connect"  // an origin did not answer
)

// Request answers one request for an asset, or a search.
func (g *Gateway) Request(ctx context.Context, search bool, key int) error {
	began := time.Now()
	route := "assets"
	if search {
		route = "search"
	}
	err := g.answer(ctx, search, key)
	stage, status := "", http.StatusOK
	if f := (failure{}); errors.As(err, &f) {
		stage, status = f.stage, f.status
	}
	g.metrics.requests.WithLabelValues(route, stage, strconv.Itoa(status)).Inc()
	if stage != stageLimit && stage != stageShedding {
		g.metrics.seconds.Observe(time.Since(began).Seconds())
	}
	return err
}

func (g *Gateway) answer(ctx context.Context, search bool, key int) error {
	g.mu.Lock()
	limit, shed := g.limiter.Allow(), g.shedder.Allow()
	g.mu.Unlock()
	if !limit {
		return failure{stageLimit, http.StatusTooManyRequests}
	}
	if !shed {
		return failure{stageShedding, http.StatusTooManyRequests}
	}
	if err := g.feature(ctx, "gateway.rules", stageRules, http.StatusBadGateway); err != nil {
		return err
	}
	if err := g.feature(ctx, "quota.policy", stagePolicy, http.StatusServiceUnavailable); err != nil {
		return err
	}
	if search {
		_, err := g.ask(ctx, "search-0", key)
		return err
	}
	return g.asset(ctx, key)
}

// feature runs the code behind a flag, which can be defective.
func (g *Gateway) feature(ctx context.Context, flag, stage string, status int) error {
	g.mu.Lock()
	on := g.state.flags[flag]
	g.mu.Unlock()
	if !on {
		return nil
	}
	errs, latency := g.defect(flag)
	if errs > 0 && g.chance(errs) {
		return failure{stage, status}
	}
	if latency == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(latency):
	}
	return nil
}

// asset answers from the cache, or from the next replica.
func (g *Gateway) asset(ctx context.Context, key int) error {
	value, found := g.cache.get(key)
	if loss := g.ratio("cache-loss"); found && loss > 0 && g.chance(loss) {
		found = false
	}
	if found {
		g.metrics.lookups.WithLabelValues("hit").Inc()
	} else {
		g.metrics.lookups.WithLabelValues("miss").Inc()
		g.mu.Lock()
		g.next++
		replica := replicas[g.next%len(replicas)]
		g.mu.Unlock()
		var err error
		if value, err = g.ask(ctx, replica, key); err != nil {
			return err
		}
		stored := value
		if mixup := g.ratio("cache-mixup"); mixup > 0 && g.chance(mixup) {
			stored = "asset of another"
		}
		g.cache.put(key, stored)
	}
	// The answers of a sample are compared with their requests, as a synthetic
	// monitor does.
	if value != content(key) {
		g.metrics.mismatches.Inc()
	}
	return nil
}

func content(key int) string { return "asset " + strconv.Itoa(key) }

// ask sends a request through the proxy of a replica.
func (g *Gateway) ask(ctx context.Context, replica string, key int) (string, error) {
	began := time.Now()
	body, status, err := fetch(ctx, g.client, g.origins[replica]+"/"+strconv.Itoa(key))
	g.metrics.upstream.WithLabelValues(replica).Observe(time.Since(began).Seconds())
	switch {
	case err != nil:
		g.metrics.upstreamErrors.WithLabelValues(replica, stageConnect).Inc()
		return "", failure{stageConnect, http.StatusGatewayTimeout}
	case status != http.StatusOK:
		g.metrics.upstreamErrors.WithLabelValues(replica, stageOrigin).Inc()
		return "", failure{stageOrigin, http.StatusServiceUnavailable}
	}
	return body, nil
}

func (g *Gateway) chance(p float64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.random.Float64() < p
}

// Handler serves the metrics, and the control endpoint of the cache for callers
// with the token.
func (g *Gateway) Handler(token string) (http.Handler, error) {
	control, err := cachecontrol.New(token, map[string]cachecontrol.Cache{"assets": g.cache})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/caches/", http.StripPrefix("/caches", control))
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{}))
	return mux, nil
}
