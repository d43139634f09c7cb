package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// dashboardSite is a namespace with the application and an operator that serves the dashboard.
type dashboardSite struct {
	*actionStage

	url string
}

// looker is somebody who looks at the dashboard: what their requests have beside those of everybody.
type looker map[string]string

// testDashboard has people see releases and act on them in the dashboard with the rights that the API server knows of.
func testDashboard(t *testing.T, c *cluster.Cluster, api client.Client) {
	s := &dashboardSite{actionStage: &actionStage{stage: &stage{t: t, api: api, namespace: "dashboard"}, cluster: c}}
	s.installPolicies()
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}})
	s.create((&trial{namespace: s.namespace}).deployment(oldImage))
	canary := s.canary(v1beta1.CoverageReport)
	canary.Spec.Analysis = &v1beta1.CanaryAnalysis{Interval: "4s", Threshold: 2, StepWeights: []int32{20, 60}}
	s.create(canary)
	s.serve()
	alice, bob := s.account("alice"), s.account("bob")
	carol := looker{"X-Forwarded-User": "carol", "X-Forwarded-Groups": "on-call"}
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "people"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sluice-actions"},
		Subjects: []rbacv1.Subject{
			{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace, Name: "alice"}, {APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "on-call"},
		},
	})
	s.awaitPhase(v1beta1.PhaseInitialized)

	s.testSeen(alice, bob, carol)
	s.release(newImage)
	s.awaitWeight(20)
	s.act(alice, v1beta1.ActionPause, http.StatusOK, "Paused by system:serviceaccount:dashboard:alice (because)")
	s.act(bob, v1beta1.ActionResume, http.StatusNotFound, "no such release")
	s.act(looker{}, v1beta1.ActionResume, http.StatusUnauthorized, "Log in first")
	s.act(carol, v1beta1.ActionResume, http.StatusOK, "Resumed by carol (because)")
	s.act(alice, v1beta1.ActionResume, http.StatusConflict, "not possible")
	s.act(carol, v1beta1.ActionAbort, http.StatusOK, "Aborted by carol (because)")
	s.testKnown("system:serviceaccount:dashboard:alice", "carol", "carol")
}

// serve starts an operator with the dashboard.
func (s *dashboardSite) serve() {
	s.t.Helper()
	address := s.freeAddress()
	s.url = "http://" + address
	o, err := parseFlags([]string{"-port", "0", "-namespace", s.namespace, "-allowed-addresses", loopback, "-dashboard-address", address, "-dashboard-proxies", "127.0.0.1"}, io.Discard)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- start(ctx, s.cluster.Config(), o, wiring{registry: prometheus.NewRegistry(), oneOfMany: true})
	}()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("operator: %v", err)
		}
	})
}

// account is a ServiceAccount that has logged in with its token.
func (s *dashboardSite) account(name string) looker {
	s.t.Helper()
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}})
	config, err := s.cluster.ConfigFor(s.t.Context(), s.namespace, name)
	if err != nil {
		s.t.Fatal(err)
	}
	var cookies []string
	s.await("the dashboard", func(ctx context.Context) error {
		code, _, h, err := s.request(ctx, http.MethodPost, "/api/login", looker{}, map[string]string{"token": config.BearerToken})
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("login: %d, %w", code, err)
		}
		for _, c := range (&http.Response{Header: h}).Cookies() {
			if c.MaxAge >= 0 {
				cookies = append(cookies, c.Name+"="+c.Value)
			}
		}
		return nil
	})
	return looker{"Cookie": strings.Join(cookies, "; ")}
}

// request sends a request as the page does.
func (s *dashboardSite) request(ctx context.Context, method, path string, who looker, body any) (int, string, http.Header, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, "", nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(string(raw)))
	if err != nil {
		return 0, "", nil, err
	}
	r.Header.Set("X-Sluice-Dashboard", "1")
	for name, value := range who {
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), answer.Header, err
}

func (s *dashboardSite) must(ctx context.Context, method, path string, who looker, body any) (int, string) {
	s.t.Helper()
	code, text, _, err := s.request(ctx, method, path, who, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return code, text
}

func (s *dashboardSite) testSeen(alice, bob, carol looker) {
	s.t.Helper()
	path := "/api/releases/" + s.namespace + "/" + app
	for _, who := range []looker{alice, carol} {
		// A binding takes the API server a moment.
		s.await("the right to look", func(ctx context.Context) error {
			code, text := s.must(ctx, http.MethodGet, path, who, nil)
			if code != http.StatusOK {
				return fmt.Errorf("%d %s", code, text)
			}
			var detail struct {
				Release view.Release
				May     struct{ Actions []v1beta1.ActionType }
				Unread  struct{ Events string }
			}
			if err := json.Unmarshal([]byte(text), &detail); err != nil {
				return err
			}
			if detail.Release.State != view.AtRest || len(detail.May.Actions) != 1 || !strings.Contains(detail.Unread.Events, "forbidden") || !strings.Contains(detail.Release.Primary.Unread, "forbidden") {
				return fmt.Errorf("got %s", text)
			}
			return nil
		})
	}
	if code, text := s.must(s.t.Context(), http.MethodGet, path, bob, nil); code != http.StatusNotFound {
		s.t.Errorf("bob sees it: %d %s", code, text)
	}
	if code, text := s.must(s.t.Context(), http.MethodGet, path, looker{"Cookie": "sluice-token-0=nobody"}, nil); code != http.StatusUnauthorized {
		s.t.Errorf("nobody sees it: %d %s", code, text)
	}
}

func (s *dashboardSite) act(who looker, action v1beta1.ActionType, want int, says string) {
	s.t.Helper()
	code, text := s.must(s.t.Context(), http.MethodPost, "/api/releases/"+s.namespace+"/"+app+"/actions", who, map[string]string{
		"action": string(action), "reason": "because", "revision": s.status(s.t.Context()).LastAppliedSpec,
	})
	if code != want || !strings.Contains(text, says) {
		s.t.Errorf("%s: %d %s, want %d %s", action, code, text, want, says)
	}
}

// testKnown has actions name who has asked for them, in order.
func (s *dashboardSite) testKnown(names ...string) {
	s.t.Helper()
	var list v1alpha1.CanaryActionList
	if err := s.api.List(s.t.Context(), &list, client.InNamespace(s.namespace)); err != nil {
		s.t.Fatal(err)
	}
	by := map[string]int{}
	for _, a := range list.Items {
		by[a.Spec.RequestedBy]++
	}
	for _, name := range names {
		by[name]--
	}
	for name, n := range by {
		if n != 0 {
			s.t.Errorf("%s is off by %d", name, n)
		}
	}
}
