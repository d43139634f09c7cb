package linkerd

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway"
)

// Annotations of routes. Source: https://linkerd.io/2/reference/retries/ and
// https://linkerd.io/2/reference/timeouts/
const (
	retryHTTP      = "retry.linkerd.io/http"
	retryGRPC      = "retry.linkerd.io/grpc"
	retryLimit     = "retry.linkerd.io/limit"
	retryTimeout   = "retry.linkerd.io/timeout"
	requestTimeout = "timeout.linkerd.io/request"
)

// retries are Istio's HTTPRetry.
type retries struct {
	Attempts      int32  `json:"attempts"`
	PerTryTimeout string `json:"perTryTimeout"`
	RetryOn       string `json:"retryOn"`
}

var statusCode = regexp.MustCompile("^[1-5][0-9][0-9]$")

// grpcStatuses are those that Linkerd retries, by Istio's names, which are the same.
var grpcStatuses = []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}

// annotations tell Linkerd of retries, and of what routes of a kind can't say.
func annotations(k gateway.Kind, c *v1beta1.Canary) (map[string]string, error) {
	s := &c.Spec.Service
	out := map[string]string{}
	if untimed(k) && s.Timeout != "" {
		d, err := gateway.Duration(s.Timeout)
		if err != nil {
			return nil, &providers.InvalidError{Field: "spec.service.timeout", Value: s.Timeout, Allowed: err.Error()}
		}
		out[requestTimeout] = string(d)
	}
	return out, retryAnnotations(k, s, out)
}

func retryAnnotations(k gateway.Kind, s *v1beta1.CanaryService, out map[string]string) error {
	const field = "spec.service.retries"
	r := retries{}
	if s.Retries == nil {
		return nil
	}
	if err := json.Unmarshal(s.Retries.Raw, &r); err != nil {
		return &providers.InvalidError{Field: field, Value: string(s.Retries.Raw), Allowed: err.Error()}
	}
	if r.Attempts <= 0 {
		return nil // no retries, which is what Linkerd does by itself
	}
	http, grpc, err := conditions(r.RetryOn)
	if err != nil {
		return err
	}
	switch {
	case isGRPC(k) && grpc != "":
		out[retryGRPC] = grpc
	case !isGRPC(k) && http != "":
		out[retryHTTP] = http
	default:
		return nil // none that this kind of route can have
	}
	out[retryLimit] = strconv.Itoa(int(r.Attempts))
	if r.PerTryTimeout == "" {
		return nil
	}
	d, err := gateway.Duration(r.PerTryTimeout)
	if err != nil {
		return &providers.InvalidError{Field: field + ".perTryTimeout", Value: r.PerTryTimeout, Allowed: err.Error()}
	}
	out[retryTimeout] = string(d)
	return nil
}

// conditions sorts Istio's conditions of a retry by protocol. Without any they are
// those that say that a server was not there.
func conditions(retryOn string) (http, grpc string, err error) {
	if retryOn == "" {
		return "gateway-error", "unavailable", nil
	}
	var codes, statuses []string
	for c := range strings.SplitSeq(retryOn, ",") {
		c = strings.TrimSpace(c)
		switch {
		case c == "5xx" || c == "gateway-error" || statusCode.MatchString(c):
			codes = append(codes, c)
		case c == "retriable-status-codes" || c == "": // the codes themselves follow
		case slices.Contains(grpcStatuses, c):
			statuses = append(statuses, c)
		default:
			return "", "", &providers.InvalidError{
				Field: "spec.service.retries.retryOn", Value: retryOn,
				Allowed: "Linkerd retries 5xx, gateway-error, status codes, and gRPC's " + strings.Join(grpcStatuses, ", "),
			}
		}
	}
	return strings.Join(codes, ","), strings.Join(statuses, ","), nil
}

func isGRPC(k gateway.Kind) bool { return k.GVK.Kind == "GRPCRoute" }

// untimed tells whether a kind of route has no timeouts.
func untimed(k gateway.Kind) bool { return isGRPC(k) }
