package primaries

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/templates"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// ObserveStored finds out for the rollbacks that people ask for whether the template is stored that the primary is to have
// again. That costs a request, and nothing where nobody asks for one.
func (s *Share) ObserveStored(ctx context.Context) error {
	for i := range s.world.Actions {
		a := &s.world.Actions[i]
		if a.Type != v1beta1.ActionRollback {
			continue
		}
		var err error
		if a.Unavailable, err = s.unavailable(ctx, a.To); err != nil {
			s.world.Actions = s.world.Actions[:i] // it is not known yet whether it can be done
			return err
		}
	}
	return nil
}

// unavailable says why a revision of the primary can't be had, nothing where it can.
func (s *Share) unavailable(ctx context.Context, revision string) (string, error) {
	w := s.world
	if live, ok := w.TargetObject.(*knative.Service); ok {
		return s.part.unavailableKnative(ctx, live, revision)
	}
	primary := w.PrimaryObject
	if primary == nil {
		return "", nil // there is none, which is told anyway
	}
	if workload.Template(primary) == nil {
		return "no templates are stored of a " + w.Canary.Spec.TargetRef.Kind, nil
	}
	all, err := templates.Of(ctx, s.part.Live, primary)
	if err != nil || templates.Find(all, revision) != nil {
		return "", err
	}
	is := w.Primary.Revision
	known := slices.DeleteFunc(templates.Revisions(all), func(r string) bool { return r == is })
	if len(known) == 0 {
		return fmt.Sprintf("Kubernetes keeps no earlier template of %s; it keeps as many as spec.revisionHistoryLimit of %s says", primary.GetName(), w.Canary.Spec.TargetRef.Name), nil
	}
	return fmt.Sprintf("no template of that revision is kept of %s; there are those of %s", primary.GetName(), strings.Join(known, ", ")), nil
}

// restore gives the primary the stored template of a revision, and leaves all else of it as it is.
func (s *Share) restore(ctx context.Context, want release.Desired) error {
	p, w := s.part, s.world
	if live, ok := w.TargetObject.(*knative.Service); ok {
		return p.restoreKnative(ctx, live, want.StoredRevision)
	}
	if w.PrimaryObject == nil || w.TargetObject == nil || w.Primary.Revision == want.StoredRevision || workload.Template(w.PrimaryObject) == nil {
		return nil
	}
	all, err := templates.Of(ctx, p.Live, w.PrimaryObject)
	if err != nil {
		return err
	}
	stored := templates.Find(all, want.StoredRevision)
	if stored == nil {
		return fmt.Errorf("the template of revision %s is not kept any more", want.StoredRevision)
	}
	primary := workload.Restored(w.Canary, w.TargetObject, stored.With(w.PrimaryObject), want.StoredRevision, p.Options)
	replicas, err := w.Bounds.PrimaryReplicas(workload.Replicas(primary), want.PrimaryFloor)
	if err != nil {
		return err
	}
	workload.SetReplicas(primary, replicas)
	return s.write(ctx, primary, s.options(primary, "stored "+stored.Name))
}
