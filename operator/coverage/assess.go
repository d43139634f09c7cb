package coverage

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-delivery/sluice/api/ownership"
)

const (
	// Annotation set to Disabled on an object leaves it out of all this.
	Annotation = "sluice.dev/coverage"
	// Disabled is the value of Annotation that does so.
	Disabled = "disabled"
)

// Subject is a target and its primary as selectors see them.
type Subject struct {
	// Namespace of both.
	Namespace string
	// Owner is the Canary as the owner of the copies.
	Owner ownership.Owner
	// Label is the selector label; Target and Primary are its values.
	Label, Target, Primary string
	// Pods are the labels that the pods have or will have, whatever their value
	// of the selector label: those of the target and, during a release, the
	// older ones of the primary.
	Pods []map[string]string
	// Apex is the name of the apex Service, which is also its value of the
	// selector label, and ApexLabels are its labels.
	Apex       string
	ApexLabels map[string]string
	// Services are the names of the three Services of the Canary.
	Services []string
	// Split is true where requests for the apex Service are sent to the two others.
	Split bool
	// Narrowed is the field by which rules of their own take some of the requests of a rule of the apex' route, empty where
	// there are none.
	Narrowed string
	// RootNamespace is Istio's.
	RootNamespace string
}

// Gap is an object that covers the target's pods and not the primary's.
type Gap struct {
	// What names the object, and says what it selects, to a person.
	What string
	// Copy is what covers the primary's pods, to be applied; nil where Why
	// says why there can't be one.
	Copy *unstructured.Unstructured
	// Why says why no copy can be made; empty where one can.
	Why string
	// Native is true for kinds that the API server itself defines.
	Native bool
}

// Assessment is what Assess found.
type Assessment struct {
	// Gaps are in the order of What.
	Gaps []Gap
	// Copies are the copies that exist, whether or not they are still needed.
	Copies []*unstructured.Unstructured
}

// Assess finds the gaps that objects leave. An object that covers the primary
// and, but for the selector, says the same as another one makes that good,
// whoever made it; copies of ours do not count. It changes none of the objects.
func Assess(s Subject, objects []*unstructured.Unstructured) Assessment {
	var out Assessment
	var others []*unstructured.Unstructured
	names := map[string]bool{}
	for _, o := range objects {
		if s.made(o) {
			out.Copies = append(out.Copies, o)
			continue
		}
		others = append(others, o)
		names[nameOf(o)] = true
	}
	for _, o := range others {
		k, ok := kindOf(o)
		if !ok || o.GetAnnotations()[Annotation] == Disabled {
			continue
		}
		if s.misses(k, o) && !s.madeGood(k, o, others) {
			out.Gaps = append(out.Gaps, s.gap(k, o, names))
		}
		out.Gaps = append(out.Gaps, s.peerGaps(k, o)...)
		out.Gaps = append(out.Gaps, s.attachedGaps(k, o, others, names)...)
		out.Gaps = append(out.Gaps, s.ruleGaps(k, o)...)
	}
	slices.SortFunc(out.Gaps, func(a, b Gap) int { return cmp.Compare(a.What, b.What) })
	out.Gaps = slices.CompactFunc(out.Gaps, func(a, b Gap) bool { return a.What == b.What && b.Copy == nil })
	return out
}

// Concerns tells whether an object that came, went or was changed may change
// what Assess finds.
func Concerns(s Subject, o *unstructured.Unstructured) bool { return about(o)(s) }

// about is Concerns for many subjects: what is to be read of the object is read once.
func about(o *unstructured.Unstructured) func(Subject) bool {
	k, ok := kindOf(o)
	if !ok {
		return func(Subject) bool { return false }
	}
	selector := k.selectorOf(o)
	return func(s Subject) bool {
		if k.isOwn(s, o) {
			return false
		}
		if s.made(o) || len(s.peerGaps(k, o)) > 0 || len(s.ruleGaps(k, o)) > 0 || s.names(k, o, s.Services...) {
			return true
		}
		return k.selectsIn(o, s.Namespace, s.RootNamespace) && (s.missedBy(k, selector) || s.coversPrimary(k, selector))
	}
}

// made tells whether an object is a copy that was made for the Canary.
func (s Subject) made(o *unstructured.Unstructured) bool {
	return o.GetAnnotations()[CopyOfAnnotation] != "" && s.Owner.Owns(o)
}

// isOwn tells whether an object is one of the Canary's three Services.
func (k Kind) isOwn(s Subject, o *unstructured.Unstructured) bool {
	return k.Group == "" && o.GetNamespace() == s.Namespace && slices.Contains(s.Services, o.GetName())
}

// misses tells whether an object covers something of the target that it does
// not cover of the primary.
func (s Subject) misses(k Kind, o *unstructured.Unstructured) bool {
	if k.isOwn(s, o) || !k.selectsIn(o, s.Namespace, s.RootNamespace) {
		return false
	}
	return s.missedBy(k, k.selectorOf(o))
}

// missedBy does so for its selector.
func (s Subject) missedBy(k Kind, selector selector) bool {
	from, to := s.values(k)
	for _, set := range s.sets(k) {
		if selector.Matches(s.labelled(set, from)) && !selector.Matches(s.labelled(set, to)) {
			return true
		}
	}
	return false
}

// Leads tells whether a Service with such a selector leads to pods of the
// target. Assess finds nothing in one that does not.
func (s Subject) Leads(selector map[string]string) bool {
	return len(selector) > 0 && slices.ContainsFunc(s.Pods, func(pod map[string]string) bool {
		for key, want := range selector {
			value, ok := pod[key]
			if key == s.Label {
				value, ok = s.Target, true
			}
			if !ok || value != want {
				return false
			}
		}
		return true
	})
}

func (s Subject) coversTarget(k Kind, selector selector) bool {
	from, _ := s.values(k)
	return s.covers(k, selector, from)
}

func (s Subject) coversPrimary(k Kind, selector selector) bool {
	_, to := s.values(k)
	return s.covers(k, selector, to)
}

func (s Subject) covers(k Kind, selector selector, value string) bool {
	return slices.ContainsFunc(s.sets(k), func(set map[string]string) bool { return selector.Matches(s.labelled(set, value)) })
}

// sets are the labels that objects of a kind select by.
func (s Subject) sets(k Kind) []map[string]string {
	if k.services {
		return []map[string]string{s.ApexLabels}
	}
	return s.Pods
}

// values are those of the selector label that a kind finds before and after a
// primary came. The pods that serve get another value, and the apex Service,
// which leads to them, gets its own name.
func (s Subject) values(k Kind) (before, after string) {
	if k.services {
		return s.Target, s.Apex
	}
	return s.Target, s.Primary
}

func (s Subject) labelled(set map[string]string, value string) labels.Labels {
	return relabelled{set, s.Label, value}
}

// relabelled are labels with another value of one of them.
type relabelled struct {
	set        map[string]string
	key, value string
}

// Has implements labels.Labels.
func (l relabelled) Has(key string) bool {
	_, ok := l.set[key]
	return ok || key == l.key
}

// Get implements labels.Labels.
func (l relabelled) Get(key string) string {
	if key == l.key {
		return l.value
	}
	return l.set[key]
}

// Lookup implements labels.Labels.
func (l relabelled) Lookup(key string) (value string, exists bool) { return l.Get(key), l.Has(key) }

// madeGood tells whether another object does for the primary's pods what o
// does for the target's.
func (s Subject) madeGood(k Kind, o *unstructured.Unstructured, others []*unstructured.Unstructured) bool {
	if k.byName || len(k.selector) == 0 {
		return false
	}
	var remaining map[string]any
	return slices.ContainsFunc(others, func(other *unstructured.Unstructured) bool {
		if other == o || other.GroupVersionKind() != o.GroupVersionKind() || other.GetNamespace() != o.GetNamespace() {
			return false
		}
		if !k.selectsIn(other, s.Namespace, s.RootNamespace) || !s.coversPrimary(k, k.selectorOf(other)) {
			return false
		}
		if remaining == nil {
			remaining = k.withoutSelector(o)
		}
		return equality.Semantic.DeepEqual(remaining, k.withoutSelector(other))
	})
}

func (k Kind) withoutSelector(o *unstructured.Unstructured) map[string]any {
	spec, _, _ := unstructured.NestedMap(o.Object, "spec") // a copy
	unstructured.RemoveNestedField(spec, k.selector[1])
	return spec
}

func (s Subject) gap(k Kind, o *unstructured.Unstructured, names map[string]bool) Gap {
	g := Gap{What: s.name(k, o), Native: k.Native}
	g.Copy, g.Why = s.copyOf(k, o, names)
	return g
}

// name is what people know an object by.
func (s Subject) name(k Kind, o *unstructured.Unstructured) string {
	name := o.GetName()
	if o.GetNamespace() != s.Namespace {
		name = o.GetNamespace() + "/" + name
	}
	return k.Kind + " " + name + " (" + k.selectorOf(o).String() + ")"
}

// peerGaps are the peers of a NetworkPolicy's rules that are the target's pods
// and not the primary's. Nobody can tell what a copy of such a policy should
// allow to whom else, so there is none.
func (s Subject) peerGaps(k Kind, o *unstructured.Unstructured) []Gap {
	if !k.peers {
		return nil
	}
	rules := k.rulesOf(o)
	var out []Gap
	for _, r := range rules {
		for _, p := range r.peers {
			if !p.in(s.Namespace, o.GetNamespace()) || !s.peerMisses(p) || s.allowed(r, rules, o.GetNamespace()) {
				continue
			}
			name := o.GetName()
			if o.GetNamespace() != s.Namespace {
				name = o.GetNamespace() + "/" + name
			}
			out = append(out, Gap{
				What: k.Kind + " " + name + " (" + r.direction + " peer " + p.text + ")", Native: true,
				Why: "its rules name them as peers",
			})
		}
	}
	return out
}

func (s Subject) peerMisses(p peer) bool {
	return slices.ContainsFunc(s.Pods, func(set map[string]string) bool {
		return p.pods.Matches(s.labelled(set, s.Target)) && !p.pods.Matches(s.labelled(set, s.Primary))
	})
}

// allowed tells whether the policy has a rule for the primary's pods that
// allows them the same ports.
func (s Subject) allowed(missing rule, rules []rule, namespace string) bool {
	return slices.ContainsFunc(rules, func(r rule) bool {
		if r.direction != missing.direction || !equality.Semantic.DeepEqual(r.ports, missing.ports) {
			return false
		}
		return slices.ContainsFunc(r.peers, func(p peer) bool {
			return p.in(s.Namespace, namespace) && slices.ContainsFunc(s.Pods, func(set map[string]string) bool {
				return p.pods.Matches(s.labelled(set, s.Primary))
			})
		})
	})
}
