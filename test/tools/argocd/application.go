package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/cache"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/engine"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// trackingID is the annotation by which Argo CD 3 knows what an application made, and manager the name by which it applies.
const (
	trackingID = "argocd.argoproj.io/tracking-id"
	manager    = "argocd-controller"
)

// look is how often the folder is looked at; the cluster is watched.
const look = 200 * time.Millisecond

type application struct {
	namespace, name, folder string

	ignored ignored
	healths *healths
	log     logr.Logger
	tell    func(line) error

	cluster cache.ClusterCache
	seen    map[string]string
}

// keep makes the namespace as the folder has it whenever it is not, until ctx ends.
func (a *application) keep(ctx context.Context, config *rest.Config) error {
	a.cluster = cache.NewClusterCache(config, cache.SetNamespaces([]string{a.namespace}), cache.SetLogr(a.log),
		cache.SetPopulateResourceInfoHandler(func(o *unstructured.Unstructured, _ bool) (any, bool) {
			mine := a.made(o)
			return mine, mine
		}))
	e := engine.NewEngine(config, a.cluster, engine.WithLogr(a.log))
	stop, err := e.Run()
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer stop()
	for {
		if err := a.look(ctx, e); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(look):
		}
	}
}

// made is true for what this application made.
func (a *application) made(o *unstructured.Unstructured) bool {
	return o.GetAnnotations()[trackingID] == a.tracking(o)
}

func (a *application) tracking(o *unstructured.Unstructured) string {
	gvk := o.GroupVersionKind()
	return fmt.Sprintf("%s:%s/%s:%s/%s", a.name, gvk.Group, gvk.Kind, a.namespace, o.GetName())
}

// look compares once, and makes what differs as it is to be.
func (a *application) look(ctx context.Context, e engine.GitOpsEngine) error {
	wanted, err := a.manifests()
	if err != nil {
		return err
	}
	live, err := a.cluster.GetManagedLiveObjs(wanted, func(r *cache.Resource) bool { mine, _ := r.Info.(bool); return mine })
	if err != nil {
		return fmt.Errorf("what is there: %w", err)
	}
	if err := a.judge(live); err != nil {
		return err
	}
	a.respect(wanted, live)
	differs, err := a.differing(wanted, maps.Clone(live))
	if err != nil || len(differs) == 0 {
		return err
	}
	foreground := metav1.DeletePropagationForeground
	results, err := e.Sync(ctx, wanted, func(r *cache.Resource) bool { mine, _ := r.Info.(bool); return mine }, "", a.namespace,
		sync.WithPrune(true), sync.WithPrunePropagationPolicy(&foreground), sync.WithServerSideApply(true), sync.WithServerSideApplyManager(manager),
		sync.WithHealthOverride(a.healths), sync.WithLogr(a.log))
	if errors.Is(err, context.Canceled) {
		return nil
	}
	l := line{Synced: differs}
	if err != nil {
		for _, r := range results {
			err = errors.Join(err, fmt.Errorf("%s %s: %s", r.ResourceKey.Kind, r.ResourceKey.Name, r.Message))
		}
		l.Failed = err.Error()
	}
	return a.tell(l)
}

// manifests are the folder's, marked as this application's.
func (a *application) manifests() ([]*unstructured.Unstructured, error) {
	files, err := filepath.Glob(filepath.Join(a.folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // it went since
		} else if err != nil {
			return nil, err
		}
		objects, err := kube.SplitYAML(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, objects...)
	}
	for _, o := range out {
		o.SetNamespace(a.namespace)
		annotations := o.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[trackingID] = a.tracking(o)
		o.SetAnnotations(annotations)
	}
	return out, nil
}

// differing are the objects that are not as wanted.
func (a *application) differing(wanted []*unstructured.Unstructured, live map[kube.ResourceKey]*unstructured.Unstructured) ([]string, error) {
	pairs := sync.Reconcile(wanted, live, a.namespace, a.cluster)
	found, err := diff.DiffArray(pairs.Target, pairs.Live, diff.WithNormalizer(a.ignored), diff.WithLogr(a.log), diff.WithManager(manager))
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	var out []string
	for i, d := range found.Diffs {
		switch {
		case pairs.Target[i] == nil:
			if pairs.Live[i].GetDeletionTimestamp() == nil {
				out = append(out, name(pairs.Live[i])+" deleted")
			}
		case d.Modified:
			out = append(out, name(pairs.Target[i]))
		}
	}
	slices.Sort(out)
	return out, nil
}

// respect has the ignored fields of what is wanted be what they are: RespectIgnoreDifferences.
func (a *application) respect(wanted []*unstructured.Unstructured, live map[kube.ResourceKey]*unstructured.Unstructured) {
	for _, w := range wanted {
		is := live[kube.GetResourceKey(w)]
		if is == nil {
			continue
		}
		for _, field := range a.ignored[name(w)] {
			if value, ok, err := unstructured.NestedFieldCopy(is.Object, field...); err == nil && ok {
				_ = unstructured.SetNestedField(w.Object, value, field...)
			}
		}
	}
}

// judge tells whose health has changed.
func (a *application) judge(live map[kube.ResourceKey]*unstructured.Unstructured) error {
	changed := map[string]string{}
	now := map[string]string{}
	for _, o := range live {
		if o == nil {
			continue
		}
		h, err := health.GetResourceHealth(o, a.healths)
		if err != nil {
			return fmt.Errorf("health of %s: %w", name(o), err)
		}
		if h == nil {
			continue // of no kind that has one
		}
		is := string(h.Status)
		now[name(o)] = is
		if a.seen[name(o)] != is {
			changed[name(o)] = is
		}
	}
	a.seen = now
	if len(changed) == 0 {
		return nil
	}
	return a.tell(line{Health: changed})
}

func name(o *unstructured.Unstructured) string { return o.GetKind() + "/" + o.GetName() }

// Normalize takes the ignored fields away, before objects are compared.
func (i ignored) Normalize(o *unstructured.Unstructured) error {
	for _, field := range i[name(o)] {
		unstructured.RemoveNestedField(o.Object, field...)
	}
	return nil
}

var _ diff.Normalizer = ignored(nil)

// scriptOf is where the health check of a kind is in Argo CD.
func scriptOf(group, kind string) string {
	return strings.Join([]string{group, kind, "health.lua"}, "/")
}
