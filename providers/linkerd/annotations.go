package linkerd

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/gateway/rules"
)

// Annotations of routes. Source: https://linkerd.io/2/reference/retries/
const (
	retryHTTP    = "retry.linkerd.io/http"
	retryLimit   = "retry.linkerd.io/limit"
	retryTimeout = "retry.linkerd.io/timeout"
)

// retries are Istio's HTTPRetry.
type retries struct {
	Attempts      int32  `json:"attempts"`
	PerTryTimeout string `json:"perTryTimeout"`
	RetryOn       string `json:"retryOn"`
}

var statusCode = regexp.MustCompile("^[1-5][0-9][0-9]$")

// grpcStatuses are those by which Linkerd retries where a GRPCRoute says so, by Istio's names.
var grpcStatuses = []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}

// annotations tell Linkerd of retries, which routes can't say.
func annotations(c *v1beta1.Canary) (map[string]string, error) {
	const field = "spec.service.retries"
	r, s := retries{}, &c.Spec.Service
	if s.Retries == nil {
		return nil, nil //nolint:nilnil // there are none
	}
	if err := json.Unmarshal(s.Retries.Raw, &r); err != nil {
		return nil, &providers.InvalidError{Field: field, Value: string(s.Retries.Raw), Allowed: err.Error()}
	}
	if r.Attempts <= 0 {
		return nil, nil //nolint:nilnil // no retries, which is what Linkerd does by itself
	}
	codes, err := conditions(r.RetryOn)
	if err != nil || codes == "" {
		return nil, err // those by a status of gRPC are not for routes for HTTP
	}
	out := map[string]string{retryHTTP: codes, retryLimit: strconv.Itoa(int(r.Attempts))}
	if r.PerTryTimeout == "" {
		return out, nil
	}
	d, err := rules.Duration(r.PerTryTimeout)
	if err != nil {
		return nil, &providers.InvalidError{Field: field + ".perTryTimeout", Value: r.PerTryTimeout, Allowed: err.Error()}
	}
	out[retryTimeout] = string(d)
	return out, nil
}

// conditions are those of Istio's that are HTTP statuses. Without any they are those that say
// that a server was not there.
func conditions(retryOn string) (string, error) {
	if retryOn == "" {
		return "gateway-error", nil
	}
	var codes []string
	for c := range strings.SplitSeq(retryOn, ",") {
		c = strings.TrimSpace(c)
		switch {
		case c == "5xx" || c == "gateway-error" || statusCode.MatchString(c):
			codes = append(codes, c)
		case c == "retriable-status-codes" || c == "": // the codes themselves follow
		case slices.Contains(grpcStatuses, c): // accepted, as manifests for gRPC have them
		default:
			return "", &providers.InvalidError{
				Field: "spec.service.retries.retryOn", Value: retryOn,
				Allowed: "Linkerd retries 5xx, gateway-error and status codes; gRPC's " + strings.Join(grpcStatuses, ", ") + " are accepted without effect",
			}
		}
	}
	return strings.Join(codes, ","), nil
}
