package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// results are those of a run.
type results struct {
	Canaries, Others int
	Interval         string
	Machine          string
	Began            time.Time
	// Peer is which operator was compared; empty for the stages of a fleet.
	Peer string `json:",omitempty"`
	Rows []row
}

// row is what a stage has cost.
type row struct {
	Stage string
	// Canaries is how many the stage is about.
	Canaries int
	Seconds  float64
	// CPU is that of the operator, and the others those of the servers beside it, in seconds.
	CPU, APIServer, Etcd, Controllers float64
	// Busy is the share of the machine that was at work, for whomever.
	Busy float64
	// Resident is the operator's memory at the end, and Most the most that it had, in bytes.
	Resident, Most int64
	// Requests are the operator's, without watches and leases, by verb and resource.
	Requests map[string]int
	Queries  int
	Failed   int
	// Begins are from the change of a workload until its release is under way, Ends until it has succeeded, Rollbacks from
	// the answer that fails a release until its weight is 0, and Again from the operator's return until the next check.
	Begins, Ends, Rollbacks, Again []time.Duration
}

// measurement is a row while it is measured.
type measurement struct {
	bench    *bench
	row      row
	began    time.Time
	machine  [2]float64
	cpu      map[string]float64
	requests map[string]int
	queries  int
	err      error

	stop func()
	mu   sync.Mutex
	most int64
}

// harness is the name of this program's process, which is the API server's too where that is in its memory.
const harness = "bench"

// servers are those that share the machine with the operator.
var servers = []string{"kube-apiserver", "etcd", "kube-controller"}

func (b *bench) measure(stage string) *measurement {
	m := &measurement{bench: b, row: row{Stage: stage}}
	ended := make(chan struct{})
	m.stop = sync.OnceFunc(func() { close(ended) })
	go func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			m.mu.Lock()
			m.most = max(m.most, usageOf(b.process()).resident)
			m.mu.Unlock()
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	}()
	m.begin()
	return m
}

// begin begins to count.
func (m *measurement) begin() {
	m.began, m.machine, m.cpu = time.Now(), machineTime(), m.times()
	m.requests, m.err = m.bench.cluster.requests()
	m.queries = m.bench.metrics.count()
}

func (m *measurement) times() map[string]float64 {
	out := map[string]float64{name: m.bench.operatorCPU()}
	for _, server := range servers {
		out[server] = usageOf(server).cpu
	}
	if m.bench.inMemory {
		out[servers[0]] = usageOf(harness).cpu
	}
	return out
}

func (m *measurement) end() (row, error) {
	m.stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	r, now := m.row, m.times()
	r.Seconds = time.Since(m.began).Seconds()
	r.CPU = now[name] - m.cpu[name]
	r.APIServer, r.Etcd, r.Controllers = now[servers[0]]-m.cpu[servers[0]], now[servers[1]]-m.cpu[servers[1]], now[servers[2]]-m.cpu[servers[2]]
	r.Busy = busy(m.machine, machineTime())
	r.Resident, r.Most = usageOf(m.bench.process()).resident, m.most
	requests, err := m.bench.cluster.requests()
	for what, n := range m.requests {
		if requests[what] -= n; requests[what] == 0 {
			delete(requests, what)
		}
	}
	r.Requests, r.Queries = requests, m.bench.metrics.count()-m.queries
	if m.err != nil {
		err = m.err
	}
	return r, err
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// quantile of durations, 0 for none.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[min(int(q*float64(len(all))), len(all)-1)]
}

func (r row) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d Canaries, %.1f s, operator %.2f CPU-s, %d MiB (most %d), %d requests, %d queries, API server %.1f CPU-s, etcd %.1f, controllers %.1f, machine %.0f %% busy",
		r.Stage, r.Canaries, r.Seconds, r.CPU, r.Resident>>20, r.Most>>20, total(r.Requests), r.Queries, r.APIServer, r.Etcd, r.Controllers, 100*r.Busy)
	for _, d := range []struct {
		name string
		of   []time.Duration
	}{{"begins", r.Begins}, {"ends", r.Ends}, {"rollbacks", r.Rollbacks}, {"judged again", r.Again}} {
		if len(d.of) > 0 {
			fmt.Fprintf(&b, "\n  %s: p50 %.2f s, p99 %.2f s, most %.2f s (%d)", d.name, quantile(d.of, 0.5).Seconds(), quantile(d.of, 0.99).Seconds(), quantile(d.of, 1).Seconds(), len(d.of))
		}
	}
	if r.Failed > 0 {
		fmt.Fprintf(&b, "\n  %d failed", r.Failed)
	}
	for _, what := range slices.Sorted(maps.Keys(r.Requests)) {
		fmt.Fprintf(&b, "\n  %6d %s", r.Requests[what], what)
	}
	return b.String()
}

func (r results) write(folder string) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	name := fmt.Sprintf("fleet-%05d.json", r.Canaries)
	if r.Peer != "" {
		name = fmt.Sprintf("peer-%s-%05d.json", r.Peer, r.Canaries)
	}
	return os.WriteFile(filepath.Join(folder, name), raw, 0o600)
}

// machine says in a few words what this runs on.
func machine() string {
	model := runtime.GOARCH
	raw, _ := os.ReadFile("/proc/cpuinfo") // without it there is no model
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%d processors, %s", runtime.NumCPU(), model)
}
