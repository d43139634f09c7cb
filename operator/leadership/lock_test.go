package leadership

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/operator/release"
)

var errRefused = errors.New("refused")

// lease is a leader's lease in memory.
type lease struct {
	resourcelock.Interface

	record resourcelock.LeaderElectionRecord
	err    error
	takes  func() // while it is written; nil for no time
}

func (l *lease) Identity() string { return "me" }

func (l *lease) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return &l.record, nil, l.err
}

func (l *lease) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.Update(ctx, r)
}

func (l *lease) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	if l.takes != nil {
		l.takes()
	}
	if l.err == nil {
		l.record = r
	}
	return l.err
}

func TestAbsence(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	type turn struct {
		holder  string
		renewed time.Duration // from now
		refused bool
	}
	// Others write what is of another holder; what is mine is tried as whoever elects does: it is read first.
	other := func(renewed time.Duration) turn { return turn{holder: "other", renewed: renewed} }
	mine := func(renewed time.Duration) turn { return turn{holder: "me", renewed: renewed} }
	refused := func(x turn) turn { x.refused = true; return x }
	between := func(from, to time.Duration) release.Absence {
		return release.Absence{From: now.Add(from), To: now.Add(to)}
	}
	for name, tc := range map[string]struct {
		turns []turn
		want  release.Absence
	}{
		"it does not lead":                    {turns: []turn{other(0)}},
		"the first leader there is":           {turns: []turn{mine(0)}},
		"it begins an hour after the last":    {turns: []turn{other(0), mine(time.Hour)}, want: between(0, time.Hour)},
		"it stood by beside one at work":      {turns: []turn{other(0), other(24 * time.Hour), mine(24*time.Hour + 16*time.Second)}, want: between(24*time.Hour, 24*time.Hour+16*time.Second)},
		"the last one let go":                 {turns: []turn{other(0), {renewed: time.Minute}, mine(2 * time.Minute)}, want: between(time.Minute, 2*time.Minute)},
		"it renews":                           {turns: []turn{other(0), mine(time.Minute), mine(2 * time.Minute)}, want: between(0, time.Minute)},
		"it renews with trouble":              {turns: []turn{mine(0), refused(mine(2 * time.Second)), mine(8 * time.Second)}},
		"it comes to lead at the second try":  {turns: []turn{other(0), refused(mine(time.Minute)), mine(2 * time.Minute)}, want: between(0, 2*time.Minute)},
		"the last one's clock was ahead":      {turns: []turn{other(time.Hour), mine(time.Minute)}},
		"the last one never wrote its moment": {turns: []turn{{holder: "other", renewed: -1 << 62}, mine(0)}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &lease{}
			s := newLock(l, TimesOf(15*time.Second), clocktesting.NewFakePassiveClock(now))
			for _, x := range tc.turns {
				r := resourcelock.LeaderElectionRecord{HolderIdentity: x.holder, RenewTime: metav1.NewTime(now.Add(x.renewed))}
				if x.renewed < -1<<60 {
					r.RenewTime = metav1.Time{}
				}
				if x.holder != "me" {
					l.record = r
					if _, _, err := s.Get(t.Context()); err != nil {
						t.Fatal(err)
					}
					continue
				}
				l.err = nil
				if x.refused {
					l.err = errRefused
				}
				_, _, read := s.Get(t.Context())
				if err := s.Update(t.Context(), r); !errors.Is(errors.Join(read, err), l.err) || (l.err == nil) != (err == nil) {
					t.Fatalf("errors %v and %v, want %v", read, err, l.err)
				}
			}
			if got := s.Absence(); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// The operator's own requests have neither the timeout nor the name of those about the lease.
func TestConfigStays(t *testing.T) {
	config := &rest.Config{Host: "http://127.0.0.1:1", UserAgent: "sluice"}
	lock, err := New(t.Context(), config, Config{Namespace: "n", Name: "l", Times: TimesOf(15 * time.Second), Scheme: runtime.NewScheme(), Clock: clocktesting.NewFakePassiveClock(time.Time{})})
	if err != nil {
		t.Fatal(err)
	}
	if config.Timeout != 0 || config.UserAgent != "sluice" {
		t.Errorf("the operator's requests have the timeout %s and the agent %q", config.Timeout, config.UserAgent)
	}
	if name := lock.Describe(); name != "n/l" {
		t.Errorf("the lease is %s", name)
	}
}
