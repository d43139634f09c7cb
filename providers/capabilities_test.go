package providers

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestCheck(t *testing.T) {
	all := Capabilities{Weighted: true, HeaderMatch: true, WeightedMatch: true, Mirror: true, SessionAffinity: true, TCP: true, TLS: true}
	for name, tc := range map[string]struct {
		change    func(*v1beta1.Canary)
		wantField string
	}{
		"plain": {func(*v1beta1.Canary) {}, ""},
		"match": {func(c *v1beta1.Canary) { c.Spec.Analysis.Match = []v1beta1.RawObject{{}} }, "spec.analysis.match"},
		"a share of matches": {func(c *v1beta1.Canary) {
			c.Spec.Analysis.StepWeight, c.Spec.Analysis.Match = 10, []v1beta1.RawObject{{}}
		}, "spec.analysis.match"},
		"mirror":           {func(c *v1beta1.Canary) { c.Spec.Analysis.Mirror = true }, "spec.analysis.mirror"},
		"session affinity": {func(c *v1beta1.Canary) { c.Spec.Analysis.SessionAffinity = &v1beta1.SessionAffinity{} }, "spec.analysis.sessionAffinity"},
		"tcp":              {func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "tcp" }, "spec.service.appProtocol"},
		"tcp by its name":  {func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "Redis" }, "spec.service.appProtocol"},
		"https":            {func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "https" }, "spec.service.appProtocol"},
		"grpc":             {func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "grpc" }, ""},
		"h2c":              {func(c *v1beta1.Canary) { c.Spec.Service.AppProtocol = "kubernetes.io/h2c" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1beta1.Canary{Spec: v1beta1.CanarySpec{Analysis: &v1beta1.CanaryAnalysis{}}}
			tc.change(c)
			if err := all.Check("mesh", c); err != nil {
				t.Errorf("with every capability: %v", err)
			}
			err := Capabilities{Weighted: true}.Check("mesh", c)
			if IsUnsupported(err) != (tc.wantField != "") {
				t.Fatalf("error %v", err)
			}
			if tc.wantField != "" && (!strings.Contains(err.Error(), tc.wantField) || !strings.Contains(err.Error(), `"mesh"`)) {
				t.Errorf("message %q", err)
			}
		})
	}
}

// What the application encrypts and what has no requests are different things to a mesh.
func TestCheckPort(t *testing.T) {
	for appProtocol, want := range map[string]Protocol{
		"": Requests, "http": Requests, "http2": Requests, "grpc-web": Requests, "kubernetes.io/ws": Requests, "acme.com/own": Requests,
		"https": Encrypted, "TLS": Encrypted, "kubernetes.io/wss": Encrypted,
		"tcp": Connections, "mongo": Connections, "redis": Connections, "MySQL": Connections,
	} {
		if got := ProtocolOf(appProtocol); got != want {
			t.Errorf("%q is %s, want %s", appProtocol, got, want)
		}
		for can, has := range map[Capabilities]Protocol{{TCP: true}: Connections, {TLS: true}: Encrypted} {
			err := can.CheckPort("mesh", "the field", appProtocol)
			if IsUnsupported(err) != (want != Requests && want != has) {
				t.Errorf("%q with %+v: %v", appProtocol, can, err)
			}
		}
	}
}

// Flagger serves an analysis with weights or match on provider kubernetes: in ten iterations of blue/green, with a
// warning.
func TestServed(t *testing.T) {
	blueGreen := func(iterations int32) *v1beta1.CanaryAnalysis {
		return &v1beta1.CanaryAnalysis{Interval: "1m", Threshold: 2, Iterations: iterations}
	}
	of := func(change func(a *v1beta1.CanaryAnalysis)) v1beta1.CanarySpec {
		a := blueGreen(0)
		change(a)
		return v1beta1.CanarySpec{Analysis: a}
	}
	for name, tc := range map[string]struct {
		spec    v1beta1.CanarySpec
		want    *v1beta1.CanaryAnalysis
		ignored []string // fields
	}{
		"weights": {
			of(func(a *v1beta1.CanaryAnalysis) { a.StepWeight, a.MaxWeight, a.StepWeightPromotion = 10, 50, 20 }),
			blueGreen(10), []string{"stepWeight", "maxWeight", "stepWeightPromotion"},
		},
		"several weights":                {of(func(a *v1beta1.CanaryAnalysis) { a.StepWeights = []int32{10, 20} }), blueGreen(10), []string{"stepWeights"}},
		"neither weights nor iterations": {of(func(*v1beta1.CanaryAnalysis) {}), blueGreen(10), nil},
		"match": {
			of(func(a *v1beta1.CanaryAnalysis) { a.Match, a.Iterations = []v1beta1.RawObject{{}}, 3 }), blueGreen(3), []string{"match"},
		},
		"mirroring and sessions": {
			of(func(a *v1beta1.CanaryAnalysis) {
				a.Iterations, a.Mirror, a.MirrorWeight, a.SessionAffinity = 3, true, 20, &v1beta1.SessionAffinity{CookieName: "c"}
			}), blueGreen(3), []string{"mirror", "mirrorWeight", "sessionAffinity"},
		},
		"iterations": {of(func(a *v1beta1.CanaryAnalysis) { a.Iterations = 3 }), blueGreen(3), nil},
		"weights beside iterations, which are told of elsewhere": {
			of(func(a *v1beta1.CanaryAnalysis) { a.Iterations, a.StepWeight = 3, 10 }),
			&v1beta1.CanaryAnalysis{Interval: "1m", Threshold: 2, Iterations: 3, StepWeight: 10}, nil,
		},
		"the old name": {v1beta1.CanarySpec{CanaryAnalysis: &v1beta1.CanaryAnalysis{StepWeight: 10, Interval: "1m", Threshold: 2}}, blueGreen(10), []string{"stepWeight"}},
		"no analysis":  {v1beta1.CanarySpec{SkipAnalysis: true}, &v1beta1.CanaryAnalysis{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1beta1.Canary{Spec: tc.spec}
			before := c.DeepCopy()
			served, ignored := Capabilities{}.Served("kubernetes", c)
			if diff := cmp.Diff(tc.want, served.GetAnalysis()); diff != "" {
				t.Errorf("analysis (-want +got):\n%s", diff)
			}
			if err := (Capabilities{}).Check("kubernetes", served); err != nil {
				t.Errorf("it is refused: %v", err)
			}
			if diff := cmp.Diff(before, c); diff != "" {
				t.Errorf("the Canary itself was changed:\n%s", diff)
			}
			var fields []string
			for _, message := range ignored {
				field, why, _ := strings.Cut(message, " has no effect: ")
				fields = append(fields, strings.TrimPrefix(field, "spec.analysis."))
				if !strings.Contains(why, "provider kubernetes cannot share out requests") {
					t.Errorf("message %q", message)
				}
			}
			if diff := cmp.Diff(tc.ignored, fields); diff != "" {
				t.Errorf("ignored (-want +got):\n%s", diff)
			}
			if served, ignored := (Capabilities{Weighted: true}).Served("mesh", c); served != c || ignored != nil {
				t.Errorf("a mesh serves something else: %+v, %v", served.Spec, ignored)
			}
		})
	}
}

func TestErrorsAreToldApart(t *testing.T) {
	checks := map[string]func(error) bool{
		"invalid": IsInvalid, "unsupported": IsUnsupported, "conflict": IsConflict,
		"not installed": IsNotInstalled, "unknown router": IsUnknownRouter, "unreachable": IsUnreachable,
		"waiting": func(err error) bool { return WaitOf(err) != nil },
	}
	for name, err := range map[string]error{
		"invalid":        &InvalidError{},
		"unsupported":    &UnsupportedError{},
		"conflict":       &ConflictError{},
		"not installed":  ErrNotInstalled,
		"unknown router": &UnknownRouterError{},
		"unreachable":    &UnreachableError{Err: errors.New("x")},
		"waiting":        &WaitError{},
		"any other":      errors.New("x"),
	} {
		for check, is := range checks {
			if got := is(fmt.Errorf("wrapped: %w", err)); got != (name == check) {
				t.Errorf("%s error is %s: %v", name, check, got)
			}
		}
	}
}
