package leadership

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Leads is nil while nobody else can lead: the last renewal of the lease is not older than a leader's may be. Whoever elects finds
// out later: a process that was frozen, and goes on, believes for as long as it may try to renew its lease that it leads, while
// another one does.
//
// The clock of the wall counts too, as the other one stands still while a machine is suspended.
func (l *Lock) Leads() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.held {
		return ErrNotLeading
	}
	now := l.clock.Now()
	age := max(now.Sub(l.renewed), now.Round(0).Sub(l.wall))
	if age >= l.renew {
		return fmt.Errorf("%w for sure: it renewed its lease %s ago, and has %s for it", ErrNotLeading, age.Round(time.Millisecond), l.renew)
	}
	return nil
}

// Fence has a transport send what changes something only while this replica leads. The error of what it does not send is
// ErrNotLeading.
func (l *Lock) Fence(inner http.RoundTripper) http.RoundTripper { return &fence{inner: inner, lock: l} }

// fence is a transport behind which nobody writes who does not lead.
type fence struct {
	inner http.RoundTripper
	lock  *Lock
}

// RoundTrip implements http.RoundTripper.
func (f *fence) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, "":
		return f.inner.RoundTrip(r) //nolint:wrapcheck // it is the transport's
	}
	if err := f.lock.Leads(); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as every transport does
		}
		return nil, fmt.Errorf("%s %s was not sent: %w", r.Method, r.URL.Path, err)
	}
	return f.inner.RoundTrip(r) //nolint:wrapcheck // it is the transport's
}

// WrappedRoundTripper gives client-go the transport within, whose connections it closes.
func (f *fence) WrappedRoundTripper() http.RoundTripper { return f.inner }

// NeedLeaderElection has Start run without a lease: it is there to end a replica that lost its own.
func (l *Lock) NeedLeaderElection() bool { return false }

// Start ends the manager that it runs with, by its error, when another replica leads after this one did.
func (l *Lock) Start(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-l.deposed:
		return fmt.Errorf("%w any more: another one holds the lease", ErrNotLeading)
	}
}
