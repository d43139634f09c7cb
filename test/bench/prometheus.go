package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// metricsServer answers queries of Prometheus: all applications do well but those that are said to fail.
type metricsServer struct {
	url string

	mu      sync.Mutex
	queries int
	failing map[app]bool
	// last is when it said of a failing application that it fails.
	last map[app]time.Time
	all  []app
}

func startMetrics(all []app) (*metricsServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &metricsServer{url: "http://" + listener.Addr().String(), last: map[app]time.Time{}, all: all}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/query", m.query)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	go func() { _ = http.Serve(listener, mux) }() // it ends with the program
	return m, nil
}

var (
	inNamespace = regexp.MustCompile(`destination_workload_namespace(=~?)"([^"]*)"`)
	ofWorkload  = regexp.MustCompile(`destination_workload(=~?)"([^"]*)"`)
)

type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

// several is a query beside others in one request.
var several = regexp.MustCompile(`(?s)^label_replace\((.*), "([a-z_]+)", "([a-z0-9]+)", "", ""\)$`)

func (m *metricsServer) query(w http.ResponseWriter, r *http.Request) {
	result := []sample{}
	m.mu.Lock()
	m.queries++
	for q := range strings.SplitSeq(r.FormValue("query"), "\nor\n") {
		one := several.FindStringSubmatch(q)
		if one != nil {
			q = one[1]
		}
		for _, s := range m.answer(q) {
			if one != nil {
				s.Metric[one[2]] = one[3]
			}
			result = append(result, s)
		}
	}
	m.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": result}})
}

// answer is what a query gives. It is called with the lock.
func (m *metricsServer) answer(q string) (result []sample) {
	now := time.Now()
	one := func(a app, labels map[string]string) {
		value := "100"
		if strings.Contains(q, "duration") {
			value = "50"
		} else if m.failing[a] {
			value = "50"
			m.last[a] = now
		}
		result = append(result, sample{labels, [2]any{float64(now.UnixMilli()) / 1000, value}})
	}
	namespace, workload := inNamespace.FindStringSubmatch(q), ofWorkload.FindStringSubmatch(q)
	switch {
	case namespace == nil || workload == nil:
		one(app{}, map[string]string{})
	case namespace[1] == "=" && workload[1] == "=":
		one(app{namespace[2], workload[2]}, map[string]string{})
	default:
		for _, a := range m.all {
			if fits(namespace, a.namespace) && fits(workload, a.name) {
				one(a, map[string]string{"destination_workload_namespace": a.namespace, "destination_workload": a.name})
			}
		}
	}
	return result
}

// fits tells whether a value is one of those that a matcher lists.
func fits(matcher []string, value string) bool {
	for v := range strings.SplitSeq(matcher[2], "|") {
		if v == value {
			return true
		}
	}
	return false
}

// fail says which applications fail from now on.
func (m *metricsServer) fail(apps ...app) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = map[app]bool{}
	clear(m.last)
	for _, a := range apps {
		m.failing[a] = true
	}
}

func (m *metricsServer) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.queries
}

// verdict is when it was last said of an application that it fails.
func (m *metricsServer) verdict(a app) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last[a]
}
