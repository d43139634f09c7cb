package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
)

// server is an API server in memory with one Canary, and a connection to it.
func server(t *testing.T, calls interceptor.Funcs) *connection {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	canary := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"},
		Spec:       v1beta1.CanarySpec{TargetRef: v1beta1.TargetReference{Kind: "Deployment", Name: "podinfo"}},
		Status:     v1beta1.CanaryStatus{Phase: v1beta1.PhaseProgressing},
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(canary).WithStatusSubresource(canary).
		WithIndex(canary, "metadata.name", func(o client.Object) []string { return []string{o.GetName()} }).
		WithInterceptorFuncs(calls).Build()
	return &connection{WithWatch: c, namespace: "test"}
}

// become has the Canary come to a phase.
func become(t *testing.T, c *connection, phase v1beta1.CanaryPhase) {
	t.Helper()
	canary := &v1beta1.Canary{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "test", Name: "podinfo"}, canary); err != nil {
		t.Fatal(err)
	}
	canary.Status.Phase = phase
	if err := c.Status().Update(t.Context(), canary); err != nil {
		t.Fatal(err)
	}
}

// screenOf is what was written, for several goroutines. Each write is told of.
type screenOf struct {
	mu      sync.Mutex
	text    string
	written chan struct{}
}

func newScreen() *screenOf { return &screenOf{written: make(chan struct{}, 1000)} }

func (s *screenOf) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += string(p)
	s.written <- struct{}{}
	return len(p), nil
}

// await waits until something was written.
func (s *screenOf) await(t *testing.T, what string) {
	t.Helper()
	for {
		s.mu.Lock()
		found := strings.Contains(s.text, what)
		text := s.text
		s.mu.Unlock()
		if found {
			return
		}
		select {
		case <-s.written:
		case <-t.Context().Done():
			t.Fatal("the test has ended")
		case <-time.After(20 * time.Second):
			t.Fatalf("%q was not written, but %q", what, text)
		}
	}
}

// instant is a clock on which no wait takes any time.
type instant struct{ clock.WithTicker }

func (i instant) After(time.Duration) <-chan time.Time {
	out := make(chan time.Time, 1)
	out <- i.Now()
	return out
}

func appOn(out *screenOf, at *clocktesting.FakeClock) *app {
	return &app{Setting: Setting{IOStreams: genericiooptions.IOStreams{Out: out, ErrOut: out}, Clock: at, Getenv: func(string) string { return "" }}}
}

// TestFollowThroughOutage goes on through a watch that ends and an API server that does not answer, and ends where the
// right is lost.
func TestFollowThroughOutage(t *testing.T) {
	lists := 0
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "canaries"}, "", errors.New("no right"))
	c := server(t, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			switch lists++; lists {
			case 2:
				return errors.New("connection refused")
			case 4:
				return forbidden
			}
			return c.List(ctx, list, opts...)
		},
		Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
			w := watch.NewFake()
			go w.Stop() // it ends at once, as behind a proxy
			return w, nil
		},
	})
	out := newScreen()
	a := appOn(out, clocktesting.NewFakeClock(time.Now()))
	a.Clock = instant{a.Clock}
	seen := 0
	err := a.follow(t.Context(), c, "podinfo", func(*v1beta1.Canary, bool) (bool, error) { seen++; return false, nil }, a.silent)
	if !apierrors.IsForbidden(err) || seen != 2 || lists != 4 {
		t.Errorf("it ended with %v after %d lists, and saw it %d times", err, lists, seen)
	}
	out.await(t, "The API server does not answer: list: connection refused")
}

func TestFollowNobody(t *testing.T) {
	a := appOn(newScreen(), clocktesting.NewFakeClock(time.Now()))
	err := a.follow(t.Context(), server(t, interceptor.Funcs{}), "another", func(*v1beta1.Canary, bool) (bool, error) { return false, nil }, nil)
	if err == nil || !strings.Contains(err.Error(), "there is no Canary another in namespace test") {
		t.Errorf("got %v", err)
	}
}

// TestLive has a picture on a terminal follow the release, and the time that is left.
func TestLive(t *testing.T) {
	c := server(t, interceptor.Funcs{})
	out, at := newScreen(), clocktesting.NewFakeClock(time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- live(ctx, appOn(out, at), c, "podinfo", view.Screen{Width: 80}) }()
	out.await(t, "Progressing")
	become(t, c, v1beta1.PhasePromoting)
	out.await(t, "Promoting")
	at.Step(redrawEvery)
	become(t, c, v1beta1.PhaseFailed)
	out.await(t, "RolledBack")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if strings.Contains(out.text, "\x1b[2J") || !strings.HasPrefix(out.text, "\x1b[H") {
		t.Errorf("it flickers: %q", out.text)
	}
}

// TestChunks lists more Canaries than are asked for at once.
func TestChunks(t *testing.T) {
	asked := 0
	c := server(t, interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			o := &client.ListOptions{}
			o.ApplyOptions(opts)
			asked++
			all, ok := list.(*v1beta1.CanaryList)
			if !ok || o.Limit != chunk || asked == 2 && o.Continue != "the rest" {
				t.Errorf("it asks for %T with %+v", list, o)
				return nil
			}
			all.Items = []v1beta1.Canary{{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(asked)}}}
			if asked == 1 {
				all.Continue = "the rest"
			}
			return nil
		},
	})
	a := appOn(newScreen(), clocktesting.NewFakeClock(time.Now()))
	if all, err := a.canaries(t.Context(), c, nil); err != nil || len(all) != 2 || asked != 2 {
		t.Errorf("got %d, %v", len(all), err)
	}
}
