// Package policy decides which releases may begin: by the ReleasePolicies that select a Canary, by who is in a release
// and who waits, and by the time. It is pure: no client, no clock, no log.
package policy

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // an image without files has no time zones

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Key names a policy. The namespace of a ClusterReleasePolicy is empty.
type Key struct {
	Namespace, Name string
	// Config is the ConfigMap or the Secret of a limit of the releases that it begins, as in status.trackedConfigs. It has no name.
	Config string
}

// String is the policy for people, as in the status of a Canary.
func (k Key) String() string {
	if k.Config != "" {
		kind, name, _ := strings.Cut(k.Config, "/")
		if kind == "secret" {
			return "Secret/" + name
		}
		return "ConfigMap/" + name
	}
	if k.Namespace == "" {
		return v1alpha1.ClusterReleasePolicyKind + "/" + k.Name
	}
	return v1alpha1.ReleasePolicyKind + "/" + k.Name
}

// Rules are a policy as it is decided by.
type Rules struct {
	key        Key
	namespaces labels.Selector
	canaries   labels.Selector
	max        int // 0: any number
	zone       *time.Location
	windows    []window
	freeze     *v1alpha1.ReleaseFreeze
	invalid    string
}

// Of gives the rules of a ReleasePolicy.
func Of(p *v1alpha1.ReleasePolicy) Rules {
	return compile(Key{Namespace: p.Namespace, Name: p.Name}, nil, &p.Spec)
}

// OfCluster gives the rules of a ClusterReleasePolicy.
func OfCluster(p *v1alpha1.ClusterReleasePolicy) Rules {
	return compile(Key{Name: p.Name}, p.Spec.Namespaces, &p.Spec.ReleasePolicySpec)
}

// ofConfig gives the rules of what limits how many releases are under way that one config has begun.
func ofConfig(namespace, config string, most int) Rules {
	r := compile(Key{Namespace: namespace, Config: config}, nil, &v1alpha1.ReleasePolicySpec{})
	r.max = most
	return r
}

// byConfig tells whether the rules limit the releases that a config has begun.
func (r *Rules) byConfig() bool { return r.key.Config != "" }

// full says that no more releases may begin at once.
func (r *Rules) full() string {
	if r.byConfig() {
		return fmt.Sprintf("of the releases that a change of %s begins %d go at once", r.key, r.max)
	}
	return fmt.Sprintf("%s allows %s at once", r.key, releases(r.max))
}

// compile reads a spec. What of it can't be understood makes the policy invalid, and about all that it may be about: who
// wrote it wanted to hold something, and nobody knows what.
func compile(key Key, namespaces *metav1.LabelSelector, spec *v1alpha1.ReleasePolicySpec) Rules {
	r := Rules{key: key, zone: time.UTC, freeze: spec.Freeze.DeepCopy()}
	r.namespaces = r.selector("spec.namespaces", namespaces)
	r.canaries = r.selector("spec.selector", spec.Selector)
	if spec.MaxReleases != nil {
		r.max = int(*spec.MaxReleases)
		if r.max < 1 {
			r.wrong("spec.maxReleases: %d is less than 1; spec.freeze keeps all releases from beginning", r.max)
		}
	}
	if spec.TimeZone != "" {
		zone, err := time.LoadLocation(spec.TimeZone)
		if err != nil || spec.TimeZone == "Local" {
			r.wrong("spec.timeZone: there is no time zone %q in the IANA database", spec.TimeZone)
		} else {
			r.zone = zone
		}
	}
	for i, w := range spec.Windows {
		r.addWindow(i, w)
	}
	return r
}

func (r *Rules) addWindow(i int, of v1alpha1.ReleaseWindow) {
	from, ok := parseMoment(of.From)
	if !ok || from.hour == 24 {
		r.wrong("spec.windows[%d].from: %q is no time of a day such as 09:00", i, of.From)
	}
	to, ok := parseMoment(of.To)
	if !ok {
		r.wrong("spec.windows[%d].to: %q is no time of a day such as 17:00 or 24:00", i, of.To)
	}
	if from == to {
		r.wrong("spec.windows[%d]: from and to are the same time", i)
	}
	w := window{from: from, to: to}
	for _, day := range of.Days {
		number, known := weekdays[day]
		if !known {
			r.wrong("spec.windows[%d].days: %q is none of Mon, Tue, Wed, Thu, Fri, Sat and Sun", i, day)
		}
		w.days = append(w.days, number)
	}
	r.windows = append(r.windows, w)
}

func (r *Rules) selector(field string, of *metav1.LabelSelector) labels.Selector {
	if of == nil {
		return labels.Everything()
	}
	out, err := metav1.LabelSelectorAsSelector(of)
	if err != nil {
		r.wrong("%s: %v", field, err)
		return labels.Everything()
	}
	return out
}

// wrong notes the first mistake.
func (r *Rules) wrong(format string, args ...any) {
	if r.invalid == "" {
		r.invalid = v1beta1.OneLine(fmt.Sprintf(format, args...), maxText)
	}
}

// Refuse makes the rules invalid for a reason that is not in the policy.
func (r *Rules) Refuse(why string) {
	r.namespaces = labels.Everything()
	r.wrong("%s", why)
}

// Invalid says what is wrong with the policy, empty for nothing.
func (r *Rules) Invalid() string { return r.invalid }

// ByNamespace tells whether the labels of namespaces matter.
func (r *Rules) ByNamespace() bool { return !r.namespaces.Empty() }

// selects tells whether the policy is about a Canary of a namespace.
func (r *Rules) selects(namespace string, ofNamespace, ofCanary map[string]string) bool {
	if r.key.Namespace != "" && r.key.Namespace != namespace {
		return false
	}
	return r.namespaces.Matches(labels.Set(ofNamespace)) && r.canaries.Matches(labels.Set(ofCanary))
}

// maxText bounds what people have written in a policy, in bytes, where it stands in a message.
const maxText = 400

// Hold is why a policy lets no release begin, whoever is in one.
type Hold struct {
	// Reason and Message say it.
	Reason, Message string
	// Until is when it ends, zero where people have to end it.
	Until time.Time
}

// at is why the policy lets no release begin at a time, nil where it does, and until when that is so: zero for ever.
func (r *Rules) at(now time.Time) (hold *Hold, until time.Time) {
	now = now.In(r.zone)
	if r.invalid != "" {
		return &Hold{Reason: release.ReasonPolicyInvalid, Message: r.key.String() + " is invalid, so no release begins that it may be about: " + r.invalid}, time.Time{}
	}
	if r.frozen(now) {
		return r.held(release.ReasonFrozen, fmt.Sprintf("%s is frozen by %s: %s", r.key,
			v1beta1.OneLine(r.freeze.Author, maxText), v1beta1.OneLine(r.freeze.Reason, maxText)), now)
	}
	if len(r.windows) == 0 {
		return nil, r.freezes(now)
	}
	closes, open := openAt(r.windows, now)
	if !open {
		return r.held(release.ReasonWindowClosed, r.key.String()+" lets releases begin in its windows only", now)
	}
	if freezes := r.freezes(now); !freezes.IsZero() && freezes.Before(closes) {
		return nil, freezes
	}
	return nil, closes
}

// held completes what holds releases at a time by when they may begin.
func (r *Rules) held(reason, message string, now time.Time) (*Hold, time.Time) {
	h := &Hold{Reason: reason, Message: message, Until: r.next(now)}
	if h.Until.IsZero() {
		h.Message += "; it does not say until when"
	} else {
		h.Message += "; until " + h.Until.Format("Mon 2006-01-02 15:04 MST")
	}
	return h, h.Until
}

// next is the first time from now on at which releases may begin, zero where none is known.
func (r *Rules) next(now time.Time) time.Time {
	for range longest { // a freeze and a window may begin in turn
		switch _, open := openAt(r.windows, now); {
		case r.frozen(now) && r.freeze.Until == nil:
			return time.Time{}
		case r.frozen(now):
			now = r.freeze.Until.In(r.zone)
		case len(r.windows) > 0 && !open:
			now = nextAfter(r.windows, now)
		default:
			return now
		}
	}
	return now
}

func (r *Rules) frozen(now time.Time) bool {
	f := r.freeze
	return f != nil && (f.From == nil || !now.Before(f.From.Time)) && (f.Until == nil || now.Before(f.Until.Time))
}

// freezes is when a freeze begins that is yet to come, zero for none.
func (r *Rules) freezes(now time.Time) time.Time {
	if f := r.freeze; f != nil && f.From != nil && now.Before(f.From.Time) {
		return f.From.Time
	}
	return time.Time{}
}
