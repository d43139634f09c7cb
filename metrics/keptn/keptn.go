// Package keptn takes the value of a KeptnMetric, or the outcome of a Keptn
// Analysis that it starts, from the cluster. Two kinds of object need no client
// library of Keptn.
package keptn

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

const (
	apiVersion = "metrics.keptn.sh/v1beta1"
	// poll is how often an Analysis is looked at; Keptn takes about a second for one.
	poll = 500 * time.Millisecond
)

// Provider is a metrics.Provider over the objects of Keptn.
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

// Query reads q.Expr as keptnmetric/NAMESPACE/NAME, or as
// analysis/NAMESPACE/DEFINITION/DURATION/KEY=VALUE;KEY=VALUE of which duration
// (1m without one) and arguments may be missing. The value of an Analysis is 1
// if it passed and 0 if it did not.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	t, err := p.parse(q)
	if err != nil {
		return metrics.Sample{}, err
	}
	if t.analysis {
		return p.analyse(ctx, q, t)
	}
	var object struct {
		Status struct {
			Value string `json:"value"`
		} `json:"status"`
	}
	if err := p.client.JSON(ctx, q, httpjson.Request{Path: t.path("keptnmetrics") + "/" + url.PathEscape(t.name)}, &object); err != nil {
		return metrics.Sample{}, err
	}
	if object.Status.Value == "" {
		return metrics.Sample{}, metrics.ErrNoData
	}
	value, err := strconv.ParseFloat(object.Status.Value, 64)
	if err != nil {
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "the value of the KeptnMetric is not a number"}
	}
	return metrics.Sample{Value: value}, nil
}

type analysis struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Status struct {
		State string `json:"state"`
		Pass  bool   `json:"pass"`
	} `json:"status"`
}

// analyse creates an Analysis, waits for its end and deletes it again.
func (p *Provider) analyse(ctx context.Context, q metrics.Query, t target) (metrics.Sample, error) {
	timeout := q.Timeout
	if timeout <= 0 {
		timeout = httpjson.DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := json.Marshal(t.object())
	if err != nil {
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: format}
	}
	var a analysis
	if err := p.client.JSON(ctx, q, httpjson.Request{Method: http.MethodPost, Path: t.path("analyses"), Body: body}, &a); err != nil {
		return metrics.Sample{}, err
	}
	path := t.path("analyses") + "/" + url.PathEscape(a.Metadata.Name)
	defer p.remove(ctx, q, path)
	err = wait.PollUntilContextCancel(ctx, poll, true, func(ctx context.Context) (bool, error) {
		err := p.client.JSON(ctx, q, httpjson.Request{Path: path}, &a)
		return err == nil && a.Status.State == "Completed", err
	})
	if err != nil {
		if metrics.IsUnavailable(err) || metrics.IsQueryError(err) {
			return metrics.Sample{}, err
		}
		return metrics.Sample{}, p.client.Unavailable(ctx, q, fmt.Errorf("the Analysis is not complete: %w", err))
	}
	if a.Status.Pass {
		return metrics.Sample{Value: 1}, nil
	}
	return metrics.Sample{Value: 0}, nil
}

// remove deletes the Analysis even if the query is over, and soon gives up: one
// that stays behind does no harm, and is labelled so that people find it.
func (p *Provider) remove(ctx context.Context, q metrics.Query, path string) {
	q.Timeout = 2 * time.Second
	_ = p.client.Do(context.WithoutCancel(ctx), q, httpjson.Request{Method: http.MethodDelete, Path: path}, func(io.Reader) error { return nil })
}

// target is what a query names.
type target struct {
	analysis        bool
	namespace, name string
	duration        string
	arguments       map[string]string
}

const format = "it is not like keptnmetric/NAMESPACE/NAME or analysis/NAMESPACE/DEFINITION/DURATION/KEY=VALUE;KEY=VALUE"

// Check implements metrics.Checker.
func (p *Provider) Check(q metrics.Query) error {
	_, err := p.parse(q)
	return err
}

func (p *Provider) parse(q metrics.Query) (target, error) {
	t, err := parse(q)
	if err != nil {
		return target{}, err
	}
	return t, httpjson.CheckNames(p.config, q, t.namespace, t.name)
}

func parse(q metrics.Query) (target, error) {
	wrong := &metrics.QueryError{Expr: q.Expr, Message: format}
	parts := strings.SplitN(strings.TrimSpace(q.Expr), "/", 5)
	if len(parts) < 3 || parts[1] == "" || parts[2] == "" {
		return target{}, wrong
	}
	t := target{namespace: strings.ToLower(parts[1]), name: strings.ToLower(parts[2]), duration: "1m"}
	switch strings.ToLower(parts[0]) {
	case "keptnmetric", "keptnmetrics":
		return t, nil
	case "analysis", "analyses":
		t.analysis = true
	default:
		return target{}, wrong
	}
	if len(parts) > 3 && parts[3] != "" {
		t.duration = parts[3]
	}
	if len(parts) < 5 {
		return t, nil
	}
	t.arguments = map[string]string{}
	for _, pair := range strings.Split(parts[4], ";") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok && pair != "" {
			return target{}, wrong
		}
		if ok {
			t.arguments[key] = value
		}
	}
	return t, nil
}

func (t target) path(resource string) string {
	return "/apis/" + apiVersion + "/namespaces/" + url.PathEscape(t.namespace) + "/" + resource
}

// object is the Analysis to create
// (https://keptn.sh/stable/docs/reference/crd-reference/analysis/).
func (t target) object() map[string]any {
	return map[string]any{
		"apiVersion": apiVersion,
		"kind":       "Analysis",
		"metadata": map[string]any{
			"generateName": t.name + "-",
			"namespace":    t.namespace,
			"labels":       map[string]string{"app.kubernetes.io/managed-by": "sluice"},
		},
		"spec": map[string]any{
			"analysisDefinition": map[string]any{"name": t.name},
			"timeframe":          map[string]any{"recent": t.duration},
			"args":               t.arguments,
		},
	}
}
