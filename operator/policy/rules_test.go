package policy

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// at reads a time of the test's.
func at(t *testing.T, s string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func window1(from, to string, days ...v1alpha1.Weekday) v1alpha1.ReleaseWindow {
	return v1alpha1.ReleaseWindow{Days: days, From: from, To: to}
}

func TestWhen(t *testing.T) {
	office := []v1alpha1.ReleaseWindow{window1("09:00", "17:00", "Mon", "Tue", "Wed", "Thu")}
	freeze := func(from, until string) *v1alpha1.ReleaseFreeze {
		f := &v1alpha1.ReleaseFreeze{Reason: "Black Friday", Author: "alice"}
		if from != "" {
			f.From = new(metav1.NewTime(at(t, from)))
		}
		if until != "" {
			f.Until = new(metav1.NewTime(at(t, until)))
		}
		return f
	}
	for name, tc := range map[string]struct {
		spec    v1alpha1.ReleasePolicySpec
		now     string
		reason  string
		until   string // of the hold, or of no hold
		message string
	}{
		"nothing is said":            {now: "2026-11-26T12:00:00Z"},
		"in a window":                {spec: v1alpha1.ReleasePolicySpec{Windows: office}, now: "2026-11-26T12:00:00Z", until: "2026-11-26T17:00:00Z"},
		"as a window begins":         {spec: v1alpha1.ReleasePolicySpec{Windows: office}, now: "2026-11-26T09:00:00Z", until: "2026-11-26T17:00:00Z"},
		"as a window ends":           {spec: v1alpha1.ReleasePolicySpec{Windows: office}, now: "2026-11-26T17:00:00Z", reason: release.ReasonWindowClosed, until: "2026-11-30T09:00:00Z", message: "until Mon 2026-11-30 09:00 UTC"},
		"before a window":            {spec: v1alpha1.ReleasePolicySpec{Windows: office}, now: "2026-11-26T08:59:59Z", reason: release.ReasonWindowClosed, until: "2026-11-26T09:00:00Z"},
		"in another time zone":       {spec: v1alpha1.ReleasePolicySpec{Windows: office, TimeZone: "America/New_York"}, now: "2026-11-26T12:00:00Z", reason: release.ReasonWindowClosed, until: "2026-11-26T14:00:00Z", message: "09:00 EST"},
		"over midnight":              {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("22:00", "04:00", "Fri")}}, now: "2026-11-28T03:59:00Z", until: "2026-11-28T04:00:00Z"},
		"after midnight of no day":   {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("22:00", "04:00", "Fri")}}, now: "2026-11-27T03:00:00Z", reason: release.ReasonWindowClosed, until: "2026-11-27T22:00:00Z"},
		"to the end of the day":      {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("00:00", "24:00", "Thu")}}, now: "2026-11-26T23:59:59Z", until: "2026-11-27T00:00:00Z"},
		"a week away":                {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("00:00", "24:00", "Thu")}}, now: "2026-11-27T00:00:00Z", reason: release.ReasonWindowClosed, until: "2026-12-03T00:00:00Z"},
		"two that overlap":           {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("08:00", "10:00"), window1("09:00", "12:00")}}, now: "2026-11-26T09:30:00Z", until: "2026-11-26T12:00:00Z"},
		"the clocks go forward":      {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("09:00", "17:00")}, TimeZone: "Europe/Berlin"}, now: "2026-03-28T20:00:00Z", reason: release.ReasonWindowClosed, until: "2026-03-29T07:00:00Z", message: "09:00 CEST"},
		"the clocks go back":         {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("09:00", "17:00")}, TimeZone: "Europe/Berlin"}, now: "2026-10-24T20:00:00Z", reason: release.ReasonWindowClosed, until: "2026-10-25T08:00:00Z", message: "09:00 CET"},
		"an hour that there is not":  {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("02:10", "02:50", "Sun")}, TimeZone: "Europe/Berlin"}, now: "2026-03-28T20:00:00Z", reason: release.ReasonWindowClosed, until: "2026-03-29T01:10:00Z"},
		"frozen":                     {spec: v1alpha1.ReleasePolicySpec{Freeze: freeze("", "")}, now: "2026-11-26T12:00:00Z", reason: release.ReasonFrozen, message: "is frozen by alice: Black Friday; it does not say until when"},
		"frozen until":               {spec: v1alpha1.ReleasePolicySpec{Freeze: freeze("", "2026-11-28T00:00:00Z")}, now: "2026-11-26T12:00:00Z", reason: release.ReasonFrozen, until: "2026-11-28T00:00:00Z"},
		"a freeze that is over":      {spec: v1alpha1.ReleasePolicySpec{Freeze: freeze("", "2026-11-26T12:00:00Z")}, now: "2026-11-26T12:00:00Z"},
		"a freeze that is to come":   {spec: v1alpha1.ReleasePolicySpec{Freeze: freeze("2026-11-27T00:00:00Z", "")}, now: "2026-11-26T12:00:00Z", until: "2026-11-27T00:00:00Z"},
		"frozen, then no window":     {spec: v1alpha1.ReleasePolicySpec{Windows: office, Freeze: freeze("", "2026-11-27T00:00:00Z")}, now: "2026-11-26T12:00:00Z", reason: release.ReasonFrozen, until: "2026-11-30T09:00:00Z"},
		"no window, then frozen":     {spec: v1alpha1.ReleasePolicySpec{Windows: office, Freeze: freeze("2026-11-30T00:00:00Z", "2026-11-30T12:00:00Z")}, now: "2026-11-27T12:00:00Z", reason: release.ReasonWindowClosed, until: "2026-11-30T12:00:00Z"},
		"no window, then for ever":   {spec: v1alpha1.ReleasePolicySpec{Windows: office, Freeze: freeze("2026-11-30T00:00:00Z", "")}, now: "2026-11-27T12:00:00Z", reason: release.ReasonWindowClosed, message: "it does not say until when"},
		"a freeze within the window": {spec: v1alpha1.ReleasePolicySpec{Windows: office, Freeze: freeze("2026-11-26T13:00:00Z", "")}, now: "2026-11-26T12:00:00Z", until: "2026-11-26T13:00:00Z"},
		"a freeze after the window":  {spec: v1alpha1.ReleasePolicySpec{Windows: office, Freeze: freeze("2026-11-26T18:00:00Z", "")}, now: "2026-11-26T12:00:00Z", until: "2026-11-26T17:00:00Z"},
		"no such time zone":          {spec: v1alpha1.ReleasePolicySpec{TimeZone: "Europe/Atlantis"}, now: "2026-11-26T12:00:00Z", reason: release.ReasonPolicyInvalid, message: `spec.timeZone: there is no time zone "Europe/Atlantis"`},
		"the machine's time zone":    {spec: v1alpha1.ReleasePolicySpec{TimeZone: "Local"}, now: "2026-11-26T12:00:00Z", reason: release.ReasonPolicyInvalid},
		"no time":                    {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("9am", "17:00")}}, now: "2026-11-26T12:00:00Z", reason: release.ReasonPolicyInvalid, message: `spec.windows[0].from: "9am"`},
		"no day":                     {spec: v1alpha1.ReleasePolicySpec{Windows: []v1alpha1.ReleaseWindow{window1("09:00", "17:00", "Monday")}}, now: "2026-11-26T12:00:00Z", reason: release.ReasonPolicyInvalid, message: `"Monday" is none of`},
		"no selector":                {spec: v1alpha1.ReleasePolicySpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a b": "c"}}}, now: "2026-11-26T12:00:00Z", reason: release.ReasonPolicyInvalid, message: "spec.selector: "},
		"no number":                  {spec: v1alpha1.ReleasePolicySpec{MaxReleases: new(int32(0))}, now: "2026-11-26T12:00:00Z", reason: release.ReasonPolicyInvalid, message: "spec.maxReleases: 0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Of(&v1alpha1.ReleasePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: tc.spec})
			now := at(t, tc.now)
			hold, until := r.at(now)
			if hold == nil {
				hold = &Hold{Until: until}
			}
			want := time.Time{}
			if tc.until != "" {
				want = at(t, tc.until)
			}
			if hold.Reason != tc.reason || !hold.Until.Equal(want) || !strings.Contains(hold.Message, tc.message) {
				t.Errorf("%q until %s: %s", hold.Reason, hold.Until, hold.Message)
			}
			if hold.Reason != "" && !hold.Until.IsZero() {
				if again, _ := r.at(hold.Until); again != nil {
					t.Errorf("at %s, which it named, it holds releases: %+v", hold.Until, again)
				}
				if before, _ := r.at(hold.Until.Add(-time.Second)); before == nil {
					t.Errorf("right before %s, which it named, it holds none", hold.Until)
				}
			}
			if !until.IsZero() && (until.Before(now) || until.Equal(now)) {
				t.Errorf("its answer is for no time: until %s", until)
			}
		})
	}
}

func TestWhom(t *testing.T) {
	gold := &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
	inNamespace := Of(&v1alpha1.ReleasePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: v1alpha1.ReleasePolicySpec{Selector: gold}})
	spec := v1alpha1.ClusterReleasePolicySpec{Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"env": "production"}}}
	ofCluster := OfCluster(&v1alpha1.ClusterReleasePolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: spec})
	spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Like"}}}
	spec.Namespaces = nil
	invalid := OfCluster(&v1alpha1.ClusterReleasePolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: spec})
	production, other := map[string]string{"env": "production"}, map[string]string{}
	for name, tc := range map[string]struct {
		rules                 Rules
		namespace             string
		ofNamespace, ofCanary map[string]string
		want                  bool
	}{
		"its namespace and label":      {inNamespace, "shop", other, map[string]string{"tier": "gold"}, true},
		"another label":                {inNamespace, "shop", other, map[string]string{"tier": "tin"}, false},
		"another namespace":            {inNamespace, "bank", other, map[string]string{"tier": "gold"}, false},
		"a namespace of the cluster's": {ofCluster, "bank", production, nil, true},
		"another of the cluster's":     {ofCluster, "bank", other, nil, false},
		"invalid: about all":           {invalid, "bank", other, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.rules.selects(tc.namespace, tc.ofNamespace, tc.ofCanary); got != tc.want {
				t.Errorf("it selects: %t", got)
			}
		})
	}
}
