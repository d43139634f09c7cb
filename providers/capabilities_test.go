package providers

import (
	"errors"
	"fmt"
	"strings"
	"testing"

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

func TestCheckWeights(t *testing.T) {
	for name, tc := range map[string]struct {
		spec      v1beta1.CanarySpec
		wantField string
	}{
		"one weight":     {v1beta1.CanarySpec{Analysis: &v1beta1.CanaryAnalysis{StepWeight: 10}}, "spec.analysis.stepWeight "},
		"several":        {v1beta1.CanarySpec{Analysis: &v1beta1.CanaryAnalysis{StepWeights: []int32{10}}}, "spec.analysis.stepWeights "},
		"the old name":   {v1beta1.CanarySpec{CanaryAnalysis: &v1beta1.CanaryAnalysis{StepWeight: 10}}, "spec.analysis.stepWeight "},
		"iterations too": {spec: v1beta1.CanarySpec{Analysis: &v1beta1.CanaryAnalysis{StepWeight: 10, Iterations: 1}}},
		"not analysed":   {spec: v1beta1.CanarySpec{Analysis: &v1beta1.CanaryAnalysis{StepWeight: 10}, SkipAnalysis: true}},
		"no analysis":    {spec: v1beta1.CanarySpec{SkipAnalysis: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1beta1.Canary{Spec: tc.spec}
			err := Capabilities{}.Check("mesh", c)
			if IsUnsupported(err) != (tc.wantField != "") || tc.wantField != "" && !strings.HasPrefix(err.Error(), tc.wantField) {
				t.Errorf("got %v", err)
			}
			if err := (Capabilities{Weighted: true}).Check("mesh", c); err != nil {
				t.Errorf("with weights: %v", err)
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
