package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// state is what the watches have shown of an application.
type state struct {
	phase  string
	weight int // of the canary, in the route
	// sent is when its release began, and the others when that was first seen of it.
	sent, progressing, ended time.Time
	failed                   bool
	// judged is the time of its last check.
	judged time.Time
	// zero is when its weight came back to 0 in a release that fails.
	zero time.Time
}

// tracker watches Canaries and routes, and reads no more of each than is measured.
type tracker struct {
	config *rest.Config

	mu   sync.Mutex
	apps map[app]*state
}

func newTracker(config *rest.Config, apps []app) *tracker {
	t := &tracker{config: config, apps: map[app]*state{}}
	for _, a := range apps {
		t.apps[a] = &state{}
	}
	return t
}

// seen is as much of a Canary or a VirtualService as is read.
type seen struct {
	Type   string `json:"type"`
	Object struct {
		Metadata struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"metadata"`
		Spec struct {
			HTTP []struct {
				Route []struct {
					Destination struct {
						Host string `json:"host"`
					} `json:"destination"`
					Weight int `json:"weight"`
				} `json:"route"`
			} `json:"http"`
		} `json:"spec"`
		Status struct {
			Phase string `json:"phase"`
			// Current and Stable are hashes of a Rollout.
			Current string `json:"currentPodHash"`
			Stable  string `json:"stableRS"`
			Checks  []struct {
				Time time.Time `json:"time"`
			} `json:"checks"`
		} `json:"status"`
	} `json:"object"`
}

// run watches until ctx ends.
func (t *tracker) run(ctx context.Context) error {
	return t.follow(ctx, map[string]func(*state, *seen, time.Time){
		"/apis/flagger.app/v1beta1/canaries":           (*state).canary,
		"/apis/networking.istio.io/v1/virtualservices": (*state).route,
	})
}

// follow watches some kinds by their paths.
func (t *tracker) follow(ctx context.Context, kinds map[string]func(*state, *seen, time.Time)) error {
	client, err := rest.HTTPClientFor(t.config)
	if err != nil {
		return err
	}
	for path, see := range kinds {
		go func() {
			for ctx.Err() == nil {
				if err := t.watch(ctx, client, path, see); err != nil && ctx.Err() == nil {
					select { // it begins anew
					case <-time.After(time.Second):
					case <-ctx.Done():
					}
				}
			}
		}()
	}
	return nil
}

func (t *tracker) watch(ctx context.Context, client *http.Client, path string, see func(*state, *seen, time.Time)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.config.Host+path+"?watch=true", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("watch %s: %s", path, response.Status)
	}
	stream := json.NewDecoder(response.Body)
	for {
		var s seen
		if err := stream.Decode(&s); err != nil {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		at := time.Now()
		t.mu.Lock()
		if of := t.apps[app{s.Object.Metadata.Namespace, s.Object.Metadata.Name}]; of != nil {
			see(of, &s, at)
		}
		t.mu.Unlock()
	}
}

func (of *state) canary(s *seen, at time.Time) {
	of.phase = s.Object.Status.Phase
	for _, c := range s.Object.Status.Checks {
		if c.Time.After(of.judged) {
			of.judged = c.Time
		}
	}
	switch {
	case of.sent.IsZero():
	case of.progressing.IsZero():
		if of.phase == "Progressing" || of.phase == "Waiting" {
			of.progressing = at
		}
	case of.ended.IsZero() && (of.phase == "Succeeded" || of.phase == "Failed"):
		of.ended, of.failed = at, of.phase == "Failed"
	}
}

func (of *state) route(s *seen, at time.Time) {
	weight := 0
	for _, h := range s.Object.Spec.HTTP {
		for _, r := range h.Route {
			if strings.HasSuffix(r.Destination.Host, "-canary") {
				weight = max(weight, r.Weight)
			}
		}
	}
	if weight == 0 && of.weight > 0 && of.zero.IsZero() {
		of.zero = at
	}
	of.weight = weight
}

// reset forgets what was seen of releases.
func (t *tracker) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, of := range t.apps {
		*of = state{phase: of.phase, weight: of.weight, judged: of.judged}
	}
}

// sent notes that the release of an application begins.
func (t *tracker) sent(a app) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apps[a].sent = time.Now()
}

// count tells of how many applications something is true.
func (t *tracker) count(apps []app, is func(*state) bool) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range apps {
		if is(t.apps[a]) {
			n++
		}
	}
	return n
}

// durations are what a function gives of applications, without those of which it gives none.
func (t *tracker) durations(apps []app, of func(app, *state) (time.Duration, bool)) (out []time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range apps {
		if d, ok := of(a, t.apps[a]); ok {
			out = append(out, d)
		}
	}
	return out
}
