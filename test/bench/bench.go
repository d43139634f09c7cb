package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/limits"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

const (
	// account is the operator's, and its namespace.
	account = "sluice"

	auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, users: ["system:serviceaccount:` + account + `:` + account + `"]}
- {level: None}
`
	pprof = "127.0.0.1:6060"
)

// name is that of the operator's process, as /proc has it.
var name = "sluice"

// bench is a cluster with a fleet, and the operator at work in it.
type bench struct {
	options
	cluster    plane
	fleet      *fleet
	tracker    *tracker
	metrics    *metricsServer
	road       *road
	progress   *progress
	kubeconfig string

	operator program
	past     float64 // seconds of CPU of operators that have ended
	results  results
}

func newBench(ctx context.Context, o options) (*bench, error) {
	root, err := cluster.Root()
	if err != nil {
		// The module of this program is in the operator's.
		return nil, err
	}
	if o.operator == "" {
		o.operator = filepath.Join(root, "bin", name)
	}
	istio, err := cluster.IstioCRDs(ctx)
	if err != nil {
		return nil, err
	}
	crds := []string{istio, filepath.Join(root, "charts", "sluice", "crds")}
	b := &bench{options: o, progress: &progress{out: os.Stderr}, kubeconfig: filepath.Join(o.out, "operator.kubeconfig")}
	if o.inMemory {
		b.cluster, err = startMemory(ctx, filepath.Join(o.out, "operator.log"), crds...)
	} else {
		b.cluster, err = startReal(ctx, o.out, crds...)
	}
	if err != nil {
		return nil, err
	}
	prepare := b.prepare
	if o.peer != "" {
		prepare = b.preparePeer
	}
	if err := prepare(ctx); err != nil {
		return nil, errors.Join(err, b.cluster.Stop())
	}
	return b, nil
}

// startReal starts the programs of Kubernetes.
func startReal(ctx context.Context, out string, crds ...string) (*realPlane, error) {
	policy, log := filepath.Join(out, "audit.yaml"), filepath.Join(out, "audit.log")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(log); err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, cluster.Options{
		Dir: filepath.Join(out, "cluster"), Progress: os.Stderr, Node: true,
		APIServerArgs: []string{"--audit-policy-file", policy, "--audit-log-path", log, "--audit-log-maxsize", "100000"},
		// Autoscalers have no metrics here, and would say so of each every 15 s.
		ControllerManagerArgs: []string{"--horizontal-pod-autoscaler-sync-period", "24h"},
	})
	if err != nil {
		return nil, err
	}
	if err := c.InstallCRDs(ctx, crds...); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return &realPlane{Cluster: c, audit: &audit{path: log}}, nil
}

// prepare makes all that there is before the operator.
func (b *bench) prepare(ctx context.Context) error {
	scheme, err := rig.Scheme()
	if err != nil {
		return err
	}
	api, err := client.New(b.cluster.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	b.fleet = &fleet{api: api, size: b.canaries, others: b.others, interval: b.interval}
	b.canaries, b.others = b.canaries*b.copies, b.others*b.copies // as they are named from here on
	if b.road, err = newRoad(strings.TrimPrefix(b.cluster.Config().Host, "https://")); err != nil {
		return err
	}
	if err := b.admit(ctx, api); err != nil {
		return err
	}
	if memory, ok := b.cluster.(*memoryPlane); ok && b.load != "" { // before anybody watches
		if err := memory.Load(b.load, copyName(0), b.copies, copyName); err != nil {
			return err
		}
	}
	apps := b.fleet.apps(b.canaries)
	if b.metrics, err = startMetrics(apps); err != nil {
		return err
	}
	b.tracker = newTracker(b.cluster.Config(), apps)
	if err := b.tracker.run(ctx); err != nil {
		return err
	}
	if b.load != "" {
		return nil
	}
	return b.fleet.create(ctx, b.progress)
}

// admit gives the operator an account, with all rights, and a kubeconfig by which it goes the road.
func (b *bench) admit(ctx context.Context, api client.Client) error {
	if memory, ok := b.cluster.(*memoryPlane); ok {
		return memory.kubeconfig(b.road.address, b.kubeconfig)
	}
	meta := metav1.ObjectMeta{Namespace: account, Name: account}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: account}},
		&corev1.ServiceAccount{ObjectMeta: meta},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: account},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: account, Name: account}},
		},
	} {
		if err := api.Create(ctx, o); err != nil {
			return err
		}
	}
	clients, err := kubernetes.NewForConfig(b.cluster.Config())
	if err != nil {
		return err
	}
	token, err := clients.CoreV1().ServiceAccounts(account).CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(24 * 3600))},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return writeKubeconfig(b.kubeconfig, b.road.address, b.cluster.Config().CAData, token.Status.Token)
}

// start starts the operator.
func (b *bench) start() (err error) {
	b.operator, err = b.cluster.run([]string{limits.MemoryVariable + "=" + strconv.FormatInt(b.memory.Value(), 10)}, b.options.operator,
		"-kubeconfig", b.kubeconfig, "-port", "8080", "-metrics-server", b.metrics.url, "-log-level", "warn",
		"-allowed-addresses", "127.0.0.0/8,::1", "-pprof-address", pprof)
	return err
}

// kill ends the operator as a node that dies would.
func (b *bench) kill() {
	b.past += usageOf(b.process()).cpu
	b.operator.Stop(0)
}

// process is the name of the operator's process, as the kernel has it.
func (b *bench) process() string {
	base := filepath.Base(b.options.operator)
	return base[:min(len(base), 15)]
}

// operatorCPU is what all operators so far have taken, in seconds.
func (b *bench) operatorCPU() float64 { return b.past + usageOf(b.process()).cpu }

// profile keeps a profile of the operator.
func (b *bench) profile(ctx context.Context, path, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pprof+"/debug/pprof/"+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	f, err := os.Create(filepath.Join(b.out, file))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, response.Body)
	return errors.Join(err, f.Close())
}

// await polls until so many are done, and says how far it is. It is false where the limit came first.
func (b *bench) await(ctx context.Context, stage string, all int, count func() int) (bool, error) {
	b.progress.begin(stage, all)
	deadline := time.Now().Add(b.limit)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		n := count()
		b.progress.reached(n)
		if n >= all {
			return true, nil
		}
		if err := b.operator.Err(); err != nil {
			return false, fmt.Errorf("%s: %w", stage, err)
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "%s: %d of %d after %s\n", stage, n, all, b.limit)
			return false, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
