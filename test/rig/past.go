package rig

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	promapi "github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Past is what Prometheus is to know of an application's primary before its release.
type Past struct {
	// Rate is requests a second, and Failed is the share of them that failed.
	Rate, Failed float64
	// Seed of what is left to chance.
	Seed uint64
}

// pastMinutes are six hours, as far back as a comparison of canary and primary looks.
const pastMinutes = 360

// RememberPast has Prometheus know six hours of the application before its Canary, which nobody can wait for: failures that are
// independent of each other, and durations as those of the requests since its start, with a share of slow ones that is a third
// larger in some minutes, and smaller in others. An application that nobody has measured before needs some minutes
// more for a verdict.
func (r *Rig) RememberPast(ctx context.Context, p Past) error {
	prometheus, err := promapi.NewClient(promapi.Config{Address: r.PrometheusURL()})
	if err != nil {
		return err
	}
	api := promv1.NewAPI(prometheus)
	below, err := r.durations(ctx, api, 10*p.Rate)
	if err != nil {
		return err
	}
	page := p.page(r.Namespace, below, time.Now())
	var known atomic.Bool
	past := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		if !known.Load() {
			_, _ = io.WriteString(w, page) // a Prometheus that went away comes again
		}
	}))
	defer past.Close()
	if err := r.Scrape(strings.TrimPrefix(past.URL, "http://")); err != nil {
		return err
	}
	query := fmt.Sprintf(`sum(count_over_time(istio_requests_total{destination_workload_namespace=%q,destination_workload=%q}[7h]))`, r.Namespace, Name+"-primary")
	err = Await(ctx, "the past in Prometheus", time.Minute, func(ctx context.Context) error {
		value, _, _, err := api.Query(ctx, query, time.Time{})
		if err != nil {
			return err
		}
		if v, ok := value.(model.Vector); !ok || len(v) == 0 || v[0].Value < 2*pastMinutes {
			return fmt.Errorf("%s gives %v", query, value)
		}
		return nil
	})
	known.Store(true)
	return err
}

// durations are the shares of requests that took no longer than each bound of the histogram, once there are so many.
func (r *Rig) durations(ctx context.Context, api promv1.API, enough float64) (map[string]float64, error) {
	query := fmt.Sprintf(`sum by (le) (istio_request_duration_milliseconds_bucket{reporter="destination",destination_workload_namespace=%q})`, r.Namespace)
	below := map[string]float64{}
	err := Await(ctx, "requests enough to know how long they take", time.Minute, func(ctx context.Context) error {
		value, _, _, err := api.Query(ctx, query, time.Time{})
		if err != nil {
			return err
		}
		buckets, _ := value.(model.Vector)
		for _, b := range buckets {
			below[string(b.Metric["le"])] = float64(b.Value)
		}
		if n := below["+Inf"]; n < enough {
			return fmt.Errorf("%g requests", n)
		}
		return nil
	})
	all := below["+Inf"]
	for le, n := range below {
		below[le] = n / all
	}
	return below, err
}

// page are the counters of the primary, minute by minute, as a page of metrics.
func (p Past) page(namespace string, below map[string]float64, now time.Time) string {
	r := rand.New(rand.NewPCG(p.Seed, 1)) //nolint:gosec // that of a test, which is to be the same again
	labels := fmt.Sprintf(`reporter="destination",destination_workload_namespace=%q,destination_workload=%q`, namespace, Name+"-primary")
	var requests, durations strings.Builder
	perMinute := p.Rate * 60
	good, bad, buckets := 0.0, 0.0, map[string]float64{}
	for minute := range pastMinutes {
		at := now.Add(time.Duration(minute-pastMinutes) * time.Minute).UnixMilli()
		expected := perMinute * p.Failed
		failed := math.Round(math.Max(0, expected+r.NormFloat64()*math.Sqrt(expected)))
		good, bad = good+perMinute-failed, bad+failed
		fmt.Fprintf(&requests, "istio_requests_total{%s,response_code=\"200\",grpc_response_status=\"0\"} %g %d\n", labels, good, at)
		fmt.Fprintf(&requests, "istio_requests_total{%s,response_code=\"200\",grpc_response_status=\"13\"} %g %d\n", labels, bad, at)
		off := math.Exp(0.3 * r.NormFloat64())
		for le, share := range below {
			slow := (1 - share) * off / (share + (1-share)*off)
			buckets[le] += math.Round(perMinute * (1 - slow))
			fmt.Fprintf(&durations, "istio_request_duration_milliseconds_bucket{%s,le=%q} %g %d\n", labels, le, buckets[le], at)
		}
	}
	return requests.String() + durations.String()
}
