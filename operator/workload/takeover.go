package workload

import (
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// KeepTemplate has next, the intent for a primary that already is a copy of the
// target, keep the pod template of live where Flagger wrote that and it means
// the same: taking over restarts no pod. It returns whether it did. The next
// promotion writes a template without what Flagger noted there.
func KeepTemplate(next, live client.Object, targetName string, o Options) (bool, error) {
	if live == nil || !MadeByFlagger(live) {
		return false, nil
	}
	same, err := sameMeaning(unrenamed(next, targetName, o), unrenamed(live, targetName, o))
	if err != nil || !same {
		return false, err
	}
	*Template(next) = *Template(live).DeepCopy()
	return true, nil
}

// unrenamed is a primary whose selectors name the target where they name the
// primary: Flagger renames some of those that Sluice renames, and others only
// where the label's value is the target's name.
func unrenamed(primary client.Object, targetName string, o Options) client.Object {
	if Template(primary) == nil {
		return primary
	}
	out := primary.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy of one
	spec := &Template(out).Spec
	for _, key := range o.SelectorLabels {
		for _, name := range []string{targetName, strings.TrimSuffix(Template(out).Labels[key], PrimaryLabelValue(""))} {
			if name != "" {
				renameInSelectors(spec, key, PrimaryLabelValue(name), name)
			}
		}
	}
	return out
}
