package coverage

import (
	"context"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/memory"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/providers/ssa"
)

// Keeper finds what selects the pods of targets by label and not those of primaries,
// and keeps copies of it that do. It is safe for concurrent use.
type Keeper struct {
	// Reports is true where it is looked for what does not cover primaries.
	Reports bool
	// Copies is true where copies may be kept for primaries.
	Copies bool
	// RootNamespace is Istio's.
	RootNamespace string
	// Client reads Canaries and Services from a cache.
	Client client.Client
	// Reader reads from a cache that has what selects pods as unstructured objects, with
	// ReachIndex.
	Reader client.Reader
	// Applier writes copies.
	Applier *ssa.Applier
	// Options are the settings for generated objects.
	Options workload.Options
	watched kindsWatched
	changes changes
	memory  memory.Memory[assessed]
	// subjects are those of which an event may be.
	subjects subjects
}

// Share is what was found for a Canary in a turn.
type Share struct {
	keeper *Keeper
	world  *world.World
	found  Assessment
}

var (
	_ world.Part[*Share] = (*Keeper)(nil)
	_ wake.Waker         = (*Keeper)(nil)
)

// Watched says that the objects of a kind are being read, and how to learn whether all
// have been.
func (k *Keeper) Watched(kind schema.GroupVersionKind, hasSynced func() bool) {
	k.watched.add(watched{GroupVersionKind: kind, hasSynced: hasSynced})
}

// SetUp watches what selects pods by label, each kind as soon as it is served.
func (k *Keeper) SetUp(ctx context.Context, w *wake.Watches) error {
	if !k.Reports {
		return nil
	}
	if err := w.Index(ctx, Indexes()...); err != nil {
		return err
	}
	k.Reader = w.Manager.GetCache()
	source, err := newEventSource(k, w.Manager)
	if err != nil {
		return err
	}
	w.Builder.WatchesRawSource(source)
	return nil
}

// Guarded tells whether a primary already serves, so that nothing that
// guards it may hold up what moves traffic.
func Guarded(c *v1beta1.Canary) bool { return c.Status.LastPromotedSpec != "" }

// Observe finds what selects the target's pods and not the primary's. A mode that is not
// allowed is a mistake.
func (k *Keeper) Observe(ctx context.Context, w *world.World) (*Share, error) {
	s := &Share{keeper: k, world: w}
	copies := w.Canary.GetCoverageMode() == v1beta1.CoverageCopy
	if copies && !(k.Reports && k.Copies) {
		return s, world.Mistake(world.ReasonInvalidSpec, "spec.coverage.mode: Copy is not allowed by the operator's -coverage; let it be Report, or start the operator with -coverage=copy and the rights for it")
	}
	if !k.Reports || w.TargetObject == nil || workload.Template(w.TargetObject) == nil {
		return s, nil // a target of kind Service has no pods of its own
	}
	if copies && !Guarded(w.Canary) && !k.watched.synced() {
		return s, fmt.Errorf("what selects pods by label is not read yet")
	}
	label, err := workload.SelectorLabel(w.TargetObject, w.PrimaryObject, k.Options)
	if err != nil {
		return s, nil //nolint:nilerr // it is the mistake of whoever builds the Services
	}
	if s.found, err = k.assess(ctx, w, label); err != nil {
		return s, err
	}
	w.Coverage = report(s.found, copies)
	return s, nil
}

// assess finds the gaps, once for each state of what they depend on.
func (k *Keeper) assess(ctx context.Context, w *world.World, label workload.Label) (Assessment, error) {
	c, of := w.Canary, w.Objects
	name, _, _ := c.ServiceNames()
	apex, err := kube.Get[corev1.Service](ctx, k.Client, c.Namespace, name)
	if err != nil {
		return Assessment{}, err
	}
	state, complete := k.state(c.Namespace)
	key := keyOfAssessment(c, of, label, apex, state)
	if known, ok := k.recall(c, key); ok && complete {
		return known, nil
	}
	subject, err := k.subject(c, of)
	if err != nil {
		return Assessment{}, err
	}
	if apex != nil {
		maps.Copy(subject.ApexLabels, apex.Labels)
	}
	k.subjects.put(c, subject)
	subject.Owner = w.Owner
	objects, err := k.objects(ctx, subject)
	if err != nil {
		return Assessment{}, err
	}
	found := Assess(subject, objects)
	k.memory.Set(c, assessed{key, found})
	return found, nil
}

// report is what people get to know of an assessment.
func report(a Assessment, copies bool) *release.Coverage {
	out := &release.Coverage{}
	for _, g := range a.Gaps {
		switch {
		case copies && g.Copy != nil:
			out.Copied = append(out.Copied, g.What)
		case copies:
			out.Uncovered = append(out.Uncovered, g.What+": "+g.Why)
		default:
			out.Uncovered = append(out.Uncovered, g.What)
		}
	}
	return out
}

// Apply keeps the copies that a Canary asks for, and deletes those
// that it needs no more. New ones come before old ones go.
func (s *Share) Apply(ctx context.Context, _ release.Desired) error {
	k := s.keeper
	if !k.Reports || !k.Copies || s.world.Coverage == nil {
		return nil
	}
	wanted := map[string]bool{}
	if s.world.Canary.GetCoverageMode() == v1beta1.CoverageCopy {
		for _, g := range s.found.Gaps {
			if g.Copy == nil {
				continue
			}
			wanted[g.Copy.GetKind()+" "+g.Copy.GetName()] = true
			var options []ssa.Option
			if !g.Native {
				options = append(options, ssa.ProtoJSON)
			}
			if err := k.Applier.Apply(ctx, g.Copy, options...); err != nil {
				return fmt.Errorf("keep the primary covered: %w", err)
			}
		}
	}
	for _, old := range s.found.Copies {
		if wanted[old.GetKind()+" "+old.GetName()] {
			continue
		}
		if err := k.Applier.Delete(ctx, old.DeepCopy()); err != nil {
			return fmt.Errorf("delete a copy that covers nothing: %w", err)
		}
	}
	return nil
}

// GiveBack does nothing: copies go with the Canary that owns them.
func (s *Share) GiveBack(context.Context, release.Desired) error { return nil }

// Owned are all copies that were made for a Canary. They are the cache's own and must
// not be changed.
func (k *Keeper) Owned(ctx context.Context, w *world.World) ([]client.Object, error) {
	if !k.Reports || !k.Copies {
		return nil, nil
	}
	var out []client.Object
	for _, kind := range k.watched.read() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := k.Reader.List(ctx, list, client.InNamespace(w.Canary.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list copies of %s: %w", kind.Kind, err)
		}
		for i := range list.Items {
			if w.Owner.Owns(&list.Items[i]) {
				out = append(out, &list.Items[i])
			}
		}
	}
	return out, nil
}

// subject is a target and its primary as selectors see them. The error is that
// the target has no selector label.
func (k *Keeper) subject(c *v1beta1.Canary, of world.Objects) (Subject, error) {
	label, err := workload.SelectorLabel(of.TargetObject, of.PrimaryObject, k.Options)
	if err != nil {
		return Subject{}, err
	}
	apex, primaryService, canaryService := c.ServiceNames()
	s := Subject{
		Namespace:     c.Namespace,
		Owner:         ownership.For(c),
		Label:         label.Key,
		Target:        label.Target,
		Primary:       label.Primary,
		Pods:          []map[string]string{workload.Template(of.TargetObject).Labels},
		Apex:          apex,
		ApexLabels:    map[string]string{},
		Services:      []string{apex, primaryService, canaryService},
		Split:         c.GetProvider(k.Options.MeshProvider) != v1beta1.ProviderKubernetes,
		RootNamespace: k.RootNamespace,
	}
	if strings.HasPrefix(c.GetProvider(k.Options.MeshProvider), v1beta1.ProviderGatewayAPIAny) {
		s.Narrowed = narrowed(c.GetAnalysis())
	}
	if c.GetProvider(k.Options.MeshProvider) == v1beta1.ProviderConsul {
		s.Services = append(s.Services, c.RegistrationName())
	}
	if of.PrimaryObject != nil {
		s.Pods = append(s.Pods, workload.Template(of.PrimaryObject).Labels)
	}
	return s, nil
}

// narrowed is the field by which an analysis takes some requests of a rule for a rule of their own, empty for none.
func narrowed(a *v1beta1.CanaryAnalysis) string {
	switch {
	case len(a.Match) > 0:
		return "spec.analysis.match"
	case a.SessionAffinity != nil:
		return "spec.analysis.sessionAffinity"
	default:
		return ""
	}
}

// concerned are the Canaries for which an object that came, went or changed
// may change what covers their primaries.
func (k *Keeper) concerned(o *unstructured.Unstructured) []client.ObjectKey {
	return k.subjects.concerned(o, Reach(o, k.RootNamespace))
}
