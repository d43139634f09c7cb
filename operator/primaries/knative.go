package primaries

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/knative"
)

// promoteKnative has a revision of a Service of Knative be the one that serves, and notes it among those that have served.
func (p *Primaries) promoteKnative(ctx context.Context, live *knative.Service, revision string) error {
	if live.Primary() == revision {
		return nil
	}
	name := knative.Name(revision)
	patch := map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		knative.PrimaryAnnotation: name, knative.PromotedAnnotation: live.WithPromoted(name),
	}}}
	if err := p.Applier.Merge(ctx, patch, live); err != nil {
		return fmt.Errorf("promote revision %s of Service %s of Knative: %w", name, live.Name, err)
	}
	return nil
}

// unavailableKnative says why a revision can't serve again, nothing where it can: it must have been promoted, and Knative must
// keep it and be able to run it.
func (p *Primaries) unavailableKnative(ctx context.Context, live *knative.Service, revision string) (string, error) {
	name := knative.Name(revision)
	if earlier := live.Promoted(); name == "" || !slices.Contains(earlier, name) {
		var known []string
		for _, one := range earlier {
			if one != live.Annotations[knative.PrimaryAnnotation] {
				known = append(known, knative.InStatus(one))
			}
		}
		if len(known) == 0 {
			return "no revision of Service " + live.Name + " of Knative is known to have been promoted before", nil
		}
		return fmt.Sprintf("that revision of Service %s of Knative was not promoted, as far as is known; there are %s", live.Name, strings.Join(known, ", ")), nil
	}
	stored := &knative.Revision{}
	err := p.Live.Get(ctx, client.ObjectKey{Namespace: live.Namespace, Name: name}, stored)
	switch {
	case apierrors.IsNotFound(err):
		return "Knative does not keep revision " + name + " any more; how long it does its ConfigMap config-gc says", nil
	case err != nil:
		return "", fmt.Errorf("read revision %s of Knative: %w", name, err)
	}
	if why := stored.Unable(); why != "" {
		return "revision " + name + " can't serve: " + why, nil
	}
	return "", nil
}

// restoreKnative has an earlier revision serve again, which Knative must keep still: where one is named that is gone it would
// change nothing at all.
func (p *Primaries) restoreKnative(ctx context.Context, live *knative.Service, revision string) error {
	if live.Primary() == revision {
		return nil
	}
	why, err := p.unavailableKnative(ctx, live, revision)
	if err != nil {
		return err
	}
	if why != "" {
		return fmt.Errorf("revision %s: %s", revision, why)
	}
	return p.promoteKnative(ctx, live, revision)
}
