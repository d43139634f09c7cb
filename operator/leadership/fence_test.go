package leadership

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	clocktesting "k8s.io/utils/clock/testing"
)

// replica is one that takes part in an election, at a time that the test sets.
type replica struct {
	*Lock

	t     *testing.T
	lease *lease
	clock *clocktesting.FakePassiveClock
}

func newReplica(t *testing.T) *replica {
	clk := clocktesting.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	l := &lease{}
	return &replica{Lock: newLock(l, TimesOf(15*time.Second), clk), t: t, lease: l, clock: clk}
}

func (r *replica) after(d time.Duration) { r.clock.SetTime(r.clock.Now().Add(d)) }

func (r *replica) record(holder string) resourcelock.LeaderElectionRecord {
	return resourcelock.LeaderElectionRecord{HolderIdentity: holder, RenewTime: metav1.NewTime(r.clock.Now())}
}

func (r *replica) renews() {
	r.t.Helper()
	if err := r.Update(r.t.Context(), r.record("me")); err != nil {
		r.t.Fatal(err)
	}
}

// looks reads the lease as somebody else has it.
func (r *replica) looks(holder string) {
	r.t.Helper()
	r.lease.record = r.record(holder)
	if _, _, err := r.Get(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func TestLeads(t *testing.T) {
	for name, tc := range map[string]struct {
		does func(*replica)
		want string // empty where it leads
	}{
		"it never had the lease":            {does: func(*replica) {}, want: "does not lead"},
		"it stands by":                      {does: func(r *replica) { r.looks("other") }, want: "does not lead"},
		"it takes the lease":                {does: (*replica).renews},
		"it makes the lease":                {does: func(r *replica) { _ = r.Create(r.t.Context(), r.record("me")) }},
		"its renewal is young enough":       {does: func(r *replica) { r.renews(); r.after(9999 * time.Millisecond) }},
		"its renewal is too old":            {does: func(r *replica) { r.renews(); r.after(10 * time.Second) }, want: "it renewed its lease 10s ago, and has 10s for it"},
		"it renews in time, again":          {does: func(r *replica) { r.renews(); r.after(9 * time.Second); r.renews(); r.after(9 * time.Second) }},
		"it renews late, and nobody leads":  {does: func(r *replica) { r.renews(); r.after(11 * time.Second); r.renews() }},
		"its renewals are refused":          {does: func(r *replica) { r.renews(); r.after(9 * time.Second); r.refused(); r.after(time.Second) }, want: "10s ago"},
		"another one leads":                 {does: func(r *replica) { r.renews(); r.after(time.Second); r.looks("other") }, want: "does not lead"},
		"nobody has the lease for a moment": {does: func(r *replica) { r.renews(); r.looks("") }},
		"it gives the lease back":           {does: func(r *replica) { r.renews(); _ = r.Update(r.t.Context(), r.record("")) }, want: "does not lead"},
		"a renewal that took long counts from its beginning": {does: func(r *replica) {
			r.lease.takes = func() { r.after(8 * time.Second) }
			r.renews()
			r.after(2 * time.Second)
		}, want: "10s ago"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplica(t)
			tc.does(r)
			err := r.Leads()
			if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, ErrNotLeading) || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// refused is a renewal that fails.
func (r *replica) refused() {
	r.lease.err = errRefused
	if err := r.Update(r.t.Context(), r.record("me")); !errors.Is(err, errRefused) {
		r.t.Errorf("error %v", err)
	}
	r.lease.err = nil
}

// The clock that does not stand still while a machine is suspended counts too.
func TestLeadsByTheWall(t *testing.T) {
	r := newReplica(t)
	now := time.Now() // with a reading of the clock that stands still
	r.clock.SetTime(now)
	r.renews()
	r.wall = now.Round(0).Add(-10 * time.Second)
	if err := r.Leads(); !errors.Is(err, ErrNotLeading) {
		t.Errorf("error %v", err)
	}
}

// transport counts what is sent.
type transport struct{ sent []string }

func (x *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	x.sent = append(x.sent, r.Method)
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

func TestFence(t *testing.T) {
	r := newReplica(t)
	inner := &transport{}
	behind := &http.Client{Transport: r.Fence(inner)}
	send := func(method string) error {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://api/apis/x", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := behind.Do(req)
		if err == nil {
			_ = answer.Body.Close()
		}
		return err
	}
	writes := []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	for _, method := range append(writes, http.MethodGet) {
		if err := send(method); (err == nil) != (method == http.MethodGet) || err != nil && (!errors.Is(err, ErrNotLeading) || !strings.Contains(err.Error(), method+" /apis/x was not sent")) {
			t.Errorf("%s of a replica that does not lead: error %v", method, err)
		}
	}
	if len(inner.sent) != 1 {
		t.Errorf("it sent %v", inner.sent)
	}
	r.renews()
	for _, method := range writes {
		if err := send(method); err != nil {
			t.Errorf("%s of the leader: %v", method, err)
		}
	}
	r.after(time.Minute)
	if err := send(http.MethodPatch); !errors.Is(err, ErrNotLeading) {
		t.Errorf("after a minute without a renewal: error %v", err)
	}
}

// Who is not the leader any more ends at once, and leaves the lease to whoever has it.
func TestDeposed(t *testing.T) {
	r := newReplica(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Start(ctx) }()
	r.looks("other") // before it leads
	r.lease.record = resourcelock.LeaderElectionRecord{}
	r.renews()
	r.looks("other")
	if err := <-ended; !errors.Is(err, ErrNotLeading) {
		t.Errorf("it ends with %v", err)
	}
	r.looks("other") // it is asked once more when the lease is to be given back
	if err := r.Update(t.Context(), r.record("")); !errors.Is(err, errOfAnother) || r.lease.record.HolderIdentity != "other" {
		t.Errorf("the lease of %q was given back: %v", r.lease.record.HolderIdentity, err)
	}
	cancel()
	if err := newReplica(t).Start(ctx); err != nil {
		t.Errorf("one that is stopped ends with %v", err)
	}
}
