package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// lab is a cluster and everything that ever happened in it.
type lab struct {
	config *rest.Config
	api    client.WithWatch
	stub   *httptest.Server

	mu     sync.Mutex
	events map[string][]client.Object // by namespace
}

// newLab begins to watch before anything happens.
func newLab(t *testing.T, c *cluster.Cluster, api client.WithWatch) *lab {
	l := &lab{config: c.Config(), api: api, events: map[string][]client.Object{}}
	l.stub = httptest.NewServer(http.HandlerFunc(l.answer))
	t.Cleanup(l.stub.Close)
	for _, kind := range []client.ObjectList{&v1beta1.CanaryList{}, &appsv1.DeploymentList{}, &istionetworking.VirtualServiceList{}} {
		// What other tests have left is of no use here, and there is much of it.
		gvk, err := api.GroupVersionKindFor(kind)
		if err != nil {
			t.Fatal(err)
		}
		now := &metav1.PartialObjectMetadataList{}
		now.SetGroupVersionKind(gvk)
		if err := api.List(t.Context(), now, client.Limit(1)); err != nil {
			t.Fatal(err)
		}
		w, err := api.Watch(t.Context(), kind, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: now.ResourceVersion}})
		if err != nil {
			t.Fatal(err)
		}
		go l.follow(t.Context(), kind, w, now.ResourceVersion)
	}
	return l
}

// follow notes all events of a kind. The API server ends the watches of a kind whose definition is applied, as another test beside
// this one may do; it goes on from where it was.
func (l *lab) follow(ctx context.Context, kind client.ObjectList, w watch.Interface, from string) {
	for {
		for e := range w.ResultChan() {
			o, ok := e.Object.(client.Object)
			if !ok {
				continue
			}
			from = o.GetResourceVersion()
			l.mu.Lock()
			l.events[o.GetNamespace()] = append(l.events[o.GetNamespace()], o)
			l.mu.Unlock()
		}
		w.Stop()
		err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			var err error
			w, err = l.api.Watch(ctx, kind, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from}})
			return err == nil, nil
		})
		if err != nil {
			return
		}
	}
}

// seen are all states of the objects of a namespace so far, as they were
// written one after the other.
func (l *lab) seen(namespace string) []client.Object {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortStableFunc(l.events[namespace], func(a, b client.Object) int { return order(a) - order(b) })
	return slices.Clone(l.events[namespace])
}

func order(o client.Object) int {
	v, _ := strconv.Atoi(o.GetResourceVersion())
	return v
}

func (l *lab) metricsServer(bad bool) string { return l.stub.URL + "/" + strconv.FormatBool(bad) }

// answer is a Prometheus that judges a release by its persisted status, so
// that its answers do not depend on how often or when it is asked. The query
// is the namespace.
func (l *lab) answer(w http.ResponseWriter, r *http.Request) {
	var c v1beta1.Canary
	if err := l.api.Get(r.Context(), client.ObjectKey{Namespace: r.FormValue("query"), Name: app}, &c); err != nil || c.Status.Step == nil {
		http.Error(w, fmt.Sprintf("no analysis is under way: %v", err), http.StatusInternalServerError)
		return
	}
	healthy := 1
	if step := c.Status.Step; step.Index == 2 && (step.Checks == 0 || strings.HasPrefix(r.URL.Path, "/true/")) {
		healthy = 0
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"scalar","result":[0,"%d"]}}`, healthy)
}
