package wake

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// TestWatchdog has a turn hang, and end after all.
func TestWatchdog(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	w := NewWatchdog(clock)
	began, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	r := w.Watch(reconcile.Func(func(_ context.Context, request reconcile.Request) (reconcile.Result, error) {
		if request.Name == "hangs" {
			close(began)
			<-release
		}
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}))
	turn := func(name string) reconcile.Result {
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}})
		if err != nil {
			t.Error(err)
		}
		return result
	}
	go func() {
		defer close(ended)
		turn("hangs")
	}()
	<-began
	answer := func() (int, string) {
		out := httptest.NewRecorder()
		w.ServeHTTP(out, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil))
		return out.Code, out.Body.String()
	}
	clock.SetTime(clock.Now().Add(hungAfter))
	if got := turn("ends"); got.RequeueAfter != time.Second {
		t.Errorf("the turn's own result is lost: %+v", got)
	}
	if code, text := answer(); code != http.StatusOK {
		t.Errorf("before the limit: %d %s", code, text)
	}
	clock.SetTime(clock.Now().Add(time.Second))
	if code, text := answer(); code != http.StatusServiceUnavailable || !strings.Contains(text, "shop/hangs") || strings.Contains(text, "shop/ends") {
		t.Errorf("after the limit: %d %s", code, text)
	}
	close(release)
	<-ended
	if code, text := answer(); code != http.StatusOK {
		t.Errorf("after its end: %d %s", code, text)
	}
}
