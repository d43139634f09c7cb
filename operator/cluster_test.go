package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/handover"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

func TestMain(m *testing.M) {
	// Tests in a cluster wait, and do not work, for most of their time.
	if err := flag.Set("test.parallel", sitesAtOnce); err != nil {
		panic(err)
	}
	cluster.Main(m)
}

// TestOnCluster runs its parts in one cluster, which takes longer to come up
// than most of them.
func TestOnCluster(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Node: true, Progress: os.Stderr})
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	istio, err := cluster.IstioCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.InstallCRDs(t.Context(), filepath.Join(root, "charts", "sluice", "crds"), istio); err != nil {
		t.Fatal(err)
	}
	scheme, err := rig.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.NewWithWatch(c.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	part := func(name string, run func(t *testing.T)) func() { return func() { t.Run(name, run) } }
	// These have an operator for the whole cluster, change what all have use for, or say how long something takes.
	inTurn(
		part("a live Flagger is refused", func(t *testing.T) { testRefuseBesideFlagger(t, c, api) }),
		part("costs", func(t *testing.T) { testCosts(t, c, api) }),
		part("preflight", func(t *testing.T) {
			t.Run("of a cluster", func(t *testing.T) { testPreflight(t, c, api) })
			t.Run("by dry runs", func(t *testing.T) { testDryRun(t, c, api) })
		}),
		part("command line", func(t *testing.T) { testRun(t, c, api) }),
		part("fair shares", func(t *testing.T) { testFairShares(t, c, api) }),
		part("tenants", func(t *testing.T) { testTenants(t, c, api) }),
		part("log", func(t *testing.T) { testLog(t, c, api) }),
		part("coverage", func(t *testing.T) { testCoverage(t, c, api) }),
		part("warnings", func(t *testing.T) { testWarnings(t, c) }),
		part("actions", func(t *testing.T) { testActions(t, c, api) }),
		part("release policies", func(t *testing.T) { testPolicies(t, c, api) }),
		part("ownership", func(t *testing.T) { testOwnership(t, c, api) }),
		part("approvals in Slack", func(t *testing.T) { testApprovals(t, c, api) }),
		part("CRDs are brought up to date", func(t *testing.T) { testAppliedCRDs(t, c, api) }),
		part("incidents of kinds", func(t *testing.T) { testKindIncidents(t, c, api) }),
	)
	// These have operators for namespaces of their own, and wait for most of their time.
	atOnce(
		func() {
			inTurn(
				part("Consul", func(t *testing.T) { testConsul(t, c, api) }),
				part("kubectl sluice", func(t *testing.T) { testCLI(t, c, api) }),
				part("shards", func(t *testing.T) { testShards(t, c, api) }),
				part("the mesh is configured elsewhere", func(t *testing.T) { testRemoteMesh(t, c, api, istio) }),
				part("dashboard", func(t *testing.T) { testDashboard(t, c, api) }),
				part("alerts", func(t *testing.T) { testAlerts(t, c, api) }),
				part("GitOps", func(t *testing.T) { testGitOps(t, c, api) }),
			)
		},
		part("incidents", func(t *testing.T) { testIncidents(t, c, api) }),
	)
	inTurn(
		// Its operators start by the dozen: beside the parts above they would read the cluster too late, and say so in statuses.
		part("crash after every write", func(t *testing.T) { testCrashes(t, newLab(t, c, api)) }),
		part("takeover from Flagger", func(t *testing.T) { testTakeover(t, c, api) }),
		part("behind each mesh", func(t *testing.T) { testProviders(t, c, api) }),
		part("rights", func(t *testing.T) { testRights(t, flag.Lookup("test.run").Value.String() == "") }),
	)
}

// inTurn runs one after the other.
func inTurn(parts ...func()) {
	for _, run := range parts {
		run()
	}
}

// atOnce returns when all have ended.
func atOnce(lanes ...func()) {
	var wg sync.WaitGroup
	for _, run := range lanes {
		wg.Go(run)
	}
	wg.Wait()
}

func testRefuseBesideFlagger(t *testing.T, c *cluster.Cluster, api client.Client) {
	renewed := metav1.NewMicroTime(time.Now())
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: handover.FlaggerLease},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("flagger-0"), LeaseDurationSeconds: new(int32(60)), RenewTime: &renewed},
	}
	other := lease.DeepCopy()
	other.Name = "another-leader-election"
	for _, l := range []*coordinationv1.Lease{lease, other} {
		if err := api.Create(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := api.Delete(context.WithoutCancel(t.Context()), lease); err != nil {
			t.Error(err)
		}
	})
	for name, tc := range map[string]struct {
		namespaces []string
		after      time.Duration
		wantErr    string
	}{
		"whole cluster":            {after: 59 * time.Second, wantErr: "flagger-0 holds lease default/" + handover.FlaggerLease},
		"its namespace":            {namespaces: []string{"default"}, wantErr: "flagger-0 holds lease default/" + handover.FlaggerLease},
		"one of its namespaces":    {namespaces: []string{"kube-system", "default"}, wantErr: "flagger-0 holds lease default/" + handover.FlaggerLease},
		"other namespaces":         {namespaces: []string{"kube-system", "kube-public"}},
		"a lease that has run out": {after: 61 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakePassiveClock(renewed.Add(tc.after))
			err := handover.RefuseBesideFlagger(t.Context(), audited(c.Config()), tc.namespaces, clk)
			if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("got error %v, want %q", err, tc.wantErr)
			}
		})
	}
	t.Run("the command line too", func(t *testing.T) {
		err := run(t.Context(), []string{"-kubeconfig", c.Kubeconfig(), "-port", "0"}, io.Discard, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), "Flagger is running") {
			t.Errorf("got error %v", err)
		}
	})
	t.Run("no right to read leases", func(t *testing.T) {
		config, err := c.ConfigFor(t.Context(), "default", "default")
		if err != nil {
			t.Fatal(err)
		}
		if err := handover.RefuseBesideFlagger(t.Context(), config, nil, clocktesting.NewFakePassiveClock(renewed.Time)); err != nil {
			t.Error(err)
		}
	})
}

// testRun starts the operator as from the command line and ends it as a signal
// does. A lease shows that it has come to lead, and that it stepped down.
func testRun(t *testing.T, c *cluster.Cluster, api client.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log safeBuffer
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{
			"-kubeconfig", c.Kubeconfig(), "-port", "0", "-namespace", "default",
			"-enable-leader-election", "-leader-election-namespace", "default",
		}, io.Discard, &log)
	}()
	holder := func(ctx context.Context) (string, error) {
		var lease coordinationv1.Lease
		err := api.Get(ctx, client.ObjectKey{Namespace: "default", Name: "sluice-leader-election"}, &lease)
		if err != nil || lease.Spec.HolderIdentity == nil {
			return "", err
		}
		return *lease.Spec.HolderIdentity, nil
	}
	if err := rig.Await(ctx, "leadership", 30*time.Second, func(ctx context.Context) error {
		select {
		case err := <-done:
			t.Fatalf("the operator ended: %v\n%s", err, log.String())
		default:
		}
		name, err := holder(ctx)
		if err == nil && name == "" {
			err = errors.New("nobody leads")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := rig.Await(ctx, "the start of the workers", 30*time.Second, func(context.Context) error {
		if !strings.Contains(log.String(), "Starting workers") {
			return errors.New(log.String())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it did not end within 30 s")
	}
	if got := log.String(); !strings.Contains(got, "Starting EventSource") || strings.Contains(got, "!ERROR") {
		t.Errorf("the log tells of no source of events, or has what the encoder could not write:\n%s", got)
	}
	if name, err := holder(t.Context()); err != nil || name != "" {
		t.Errorf("after the end the lease is held by %q, %v", name, err)
	}
}

// safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
