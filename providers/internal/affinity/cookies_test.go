package affinity

import (
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

func sticky(change ...func(*v1beta1.SessionAffinity)) *v1beta1.Canary {
	a := &v1beta1.SessionAffinity{CookieName: "sluice"}
	for _, f := range change {
		f(a)
	}
	return &v1beta1.Canary{Spec: v1beta1.CanarySpec{Analysis: &v1beta1.CanaryAnalysis{SessionAffinity: a}}}
}

func TestAttributes(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1beta1.SessionAffinity)
		want   string
	}{
		"none": {func(*v1beta1.SessionAffinity) {}, "sluice=v; Max-Age=86400; Path=/"},
		"all": {func(a *v1beta1.SessionAffinity) {
			a.Domain, a.HTTPOnly, a.MaxAge, a.Partitioned, a.Path, a.SameSite, a.Secure = "example.com", true, 60, true, "/a%20b", "Strict", true
		}, "sluice=v; Domain=example.com; HttpOnly; Max-Age=60; Partitioned; Path=/a%20b; SameSite=Strict; Secure"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := New(sticky(tc.change), providers.Sessions{Canary: "v"})
			if err != nil {
				t.Fatal(err)
			}
			if got := k.MarkCanary(); got != tc.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		canary    *v1beta1.Canary
		sessions  providers.Sessions
		wantField string
	}{
		"nothing to keep": {canary: &v1beta1.Canary{}},
		"well":            {canary: sticky(), sessions: providers.Sessions{Canary: "v"}},
		"no affinity":     {&v1beta1.Canary{}, providers.Sessions{Ended: "v"}, "spec.analysis.sessionAffinity"},
		"name":            {sticky(func(a *v1beta1.SessionAffinity) { a.CookieName = "a b" }), providers.Sessions{Canary: "v"}, "spec.analysis.sessionAffinity.cookieName"},
		"path":            {sticky(func(a *v1beta1.SessionAffinity) { a.Path = "/;a" }), providers.Sessions{Canary: "v"}, "spec.analysis.sessionAffinity.path"},
		"domain":          {sticky(func(a *v1beta1.SessionAffinity) { a.Domain = "a\nb" }), providers.Sessions{Ended: "v"}, "spec.analysis.sessionAffinity.domain"},
		"same names":      {sticky(func(a *v1beta1.SessionAffinity) { a.PrimaryCookieName = "sluice" }), providers.Sessions{Canary: "v"}, "spec.analysis.sessionAffinity.primaryCookieName"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tc.canary, tc.sessions)
			if providers.IsInvalid(err) != (tc.wantField != "") || tc.wantField != "" && !strings.HasPrefix(err.Error(), tc.wantField+": ") {
				t.Errorf("got %v, want one about %q", err, tc.wantField)
			}
		})
	}
}

func TestCookiesAreToldApart(t *testing.T) {
	k, err := New(sticky(func(a *v1beta1.SessionAffinity) { a.CookieName = "a.b" }), providers.Sessions{Canary: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	whole := regexp.MustCompile("^(?:" + k.IsCanary() + ")$")
	for header, want := range map[string]bool{
		"a.b=v1":               true,
		"x=1; a.b=v1":          true,
		"a.b=v1; x=1":          true,
		"x=1; a.b=v1 ; y=2":    true,
		"x=1;a.b=v1":           true,
		"":                     false,
		"a.b=v11":              false,
		"a.b=v":                false,
		"xa.b=v1":              false,
		"x-a.b=v1; y=1":        false,
		"axb=v1":               false,
		"a.b=w; c=v1":          false,
		"x=a.b=v1":             false,
		"a.b=v1x; x=1":         false,
		"a.b=other; a.b=v1":    true,
		"a.b=v1.more; a.b=v12": false,
	} {
		if got := whole.MatchString(header); got != want {
			t.Errorf("%q fits: %v", header, got)
		}
	}
}

// TestReleasesAreToldApart has a cookie of an earlier release fit nothing of this one.
func TestReleasesAreToldApart(t *testing.T) {
	cookies := func(canary, primary string) Cookies {
		k, err := New(sticky(), providers.Sessions{Canary: canary, Primary: primary})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	header := func(setCookie string) string { h, _, _ := strings.Cut(setCookie, ";"); return h }
	is := func(expr, header string) bool { return regexp.MustCompile("^(?:" + expr + ")$").MatchString(header) }
	now, step, past := cookies("c1", "s2"), cookies("c1", "s1"), cookies("c0", "s2")
	for name, tc := range map[string]struct {
		header                      string
		canary, primary, wasPrimary bool
	}{
		"canary now":    {header: header(now.MarkCanary()), canary: true},
		"primary now":   {header: header(now.MarkPrimary()), primary: true, wasPrimary: true},
		"earlier step":  {header: header(step.MarkPrimary()), wasPrimary: true},
		"past canary":   {header: header(past.MarkCanary())},
		"past primary":  {header: header(past.MarkPrimary())},
		"never counted": {header: "sluice=; sluice-primary="},
	} {
		t.Run(name, func(t *testing.T) {
			got := [3]bool{is(now.IsCanary(), tc.header), is(now.IsPrimary(), tc.header), is(now.WasPrimary(), tc.header)}
			if want := [3]bool{tc.canary, tc.primary, tc.wasPrimary}; got != want {
				t.Errorf("%q: canary, primary, was primary %v, want %v", tc.header, got, want)
			}
		})
	}
}
