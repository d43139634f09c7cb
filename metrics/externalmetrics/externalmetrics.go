// Package externalmetrics asks the external metrics API of Kubernetes, which
// KEDA, the Prometheus adapter and others serve. The client of k8s.io/metrics
// takes no context, so the one request is made here.
package externalmetrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

// Provider is a metrics.Provider over the external metrics API.
type Provider struct {
	client *httpjson.Client
	config metrics.Config
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider for the cluster that the operator runs in, or for the
// API server at the address. The Secret may have a token; without one the
// operator's own identity is used, and only in its own cluster.
func New(c metrics.Config) (metrics.Provider, error) {
	client, err := httpjson.NewKubernetes(c)
	if err != nil {
		return nil, err
	}
	return &Provider{client, c}, nil
}

// answer is https://kubernetes.io/docs/reference/external-api/external-metrics.v1beta1/.
type answer struct {
	Items []struct {
		Value resource.Quantity `json:"value"`
	} `json:"items"`
}

// Query reads q.Expr as NAMESPACE/METRIC?labelSelector=SELECTOR, of which only
// the metric is needed; the namespace is default if it has none.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	path, selector, err := p.parse(q)
	if err != nil {
		return metrics.Sample{}, err
	}
	r := httpjson.Request{Path: path, Refused: missing(q)}
	if selector != "" {
		r.Parameters = url.Values{"labelSelector": {selector}}
	}
	var a answer
	if err := p.client.JSON(ctx, q, r, &a); err != nil {
		return metrics.Sample{}, err
	}
	if err := httpjson.One(q, len(a.Items), "narrow the labelSelector"); err != nil {
		return metrics.Sample{}, err
	}
	return metrics.Sample{Value: a.Items[0].Value.AsApproximateFloat64()}, nil
}

const format = "it is not like NAMESPACE/METRIC?labelSelector=SELECTOR"

// Check implements metrics.Checker.
func (p *Provider) Check(q metrics.Query) error {
	_, _, err := p.parse(q)
	return err
}

func (p *Provider) parse(q metrics.Query) (path, selector string, err error) {
	name, parameters, _ := strings.Cut(strings.TrimSpace(q.Expr), "?")
	namespace, metric, ok := strings.Cut(name, "/")
	if !ok {
		namespace, metric = "", name
	}
	if namespace == "" {
		namespace = "default"
	}
	values, parseErr := url.ParseQuery(parameters)
	if parseErr != nil || metric == "" || strings.Contains(metric, "/") {
		return "", "", &metrics.QueryError{Expr: q.Expr, Message: format}
	}
	parsed, parseErr := labels.Parse(values.Get("labelSelector"))
	if parseErr != nil {
		return "", "", &metrics.QueryError{Expr: q.Expr, Message: format + ": " + parseErr.Error()}
	}
	if err := httpjson.CheckNames(p.config, q, namespace, ""); err != nil {
		return "", "", err
	}
	if metric == "." || metric == ".." || strings.ContainsAny(metric, `\%`) { // adapters have names in capitals and with underscores
		return "", "", &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("%q is no name of a metric", metric)}
	}
	path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/" + url.PathEscape(namespace) + "/" + url.PathEscape(metric)
	return path, parsed.String(), nil
}

// missing tells a metric that is not there now, as adapters have it for a
// service without requests, from a cluster where nobody serves the API.
func missing(q metrics.Query) func(int, []byte) error {
	return func(status int, body []byte) error {
		if status != http.StatusNotFound {
			return nil
		}
		var s metav1.Status
		if json.Unmarshal(body, &s) == nil && s.Reason == metav1.StatusReasonNotFound {
			return metrics.ErrNoData
		}
		return &metrics.QueryError{Expr: q.Expr, Message: errNotServed.Error()}
	}
}

var errNotServed = errors.New("nobody serves the external metrics API (external.metrics.k8s.io) in this cluster")
