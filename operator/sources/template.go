package sources

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/template"
)

// parsed is a template, or why it is none.
type parsed struct {
	template *template.Template
	err      error
}

// Template gives the provider and the rendered query of a metric that refers to
// a MetricTemplate. What somebody must mend is a [*Problem].
func (s *Sources) Template(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error) {
	t, err := s.template(ctx, c.Namespace, metric.TemplateRef)
	if err != nil {
		return nil, metrics.Query{}, err
	}
	provider, query, err := s.check(ctx, t, c.Namespace)
	if err != nil {
		if p := AsProblem(err); p != nil {
			return nil, metrics.Query{}, &Problem{p.Reason, "templateRef: MetricTemplate " + t.Namespace + "/" + t.Name + ": " + p.Message}
		}
		return nil, metrics.Query{}, err
	}
	values := vars(c, metric)
	values.Quoting = s.quoting(t, c.Namespace)
	expr, err := query.Render(values)
	if err == nil {
		err = checkQuery(provider, expr)
	}
	if err != nil {
		return nil, metrics.Query{}, &Problem{ReasonTemplateInvalid, "templateRef: MetricTemplate " + t.Namespace + "/" + t.Name + ": " + err.Error()}
	}
	return provider, metrics.Query{Expr: expr}, nil
}

// Count gives the provider of a metric that refers to a MetricTemplate, and the rendered query of how many requests a
// version has had in an interval, or how many bad ones. What somebody must mend is a [*Problem].
func (s *Sources) Count(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric, version string, bad bool, interval string) (metrics.Provider, metrics.Query, error) {
	t, err := s.template(ctx, c.Namespace, metric.TemplateRef)
	if err != nil {
		return nil, metrics.Query{}, err
	}
	name := "templateRef: MetricTemplate " + t.Namespace + "/" + t.Name + ": "
	if t.Spec.Counts == nil {
		return nil, metrics.Query{}, &Problem{ReasonTemplateInvalid, name + "it has no spec.counts, which comparison needs"}
	}
	provider, _, err := s.check(ctx, t, c.Namespace)
	if err != nil {
		if p := AsProblem(err); p != nil {
			return nil, metrics.Query{}, &Problem{p.Reason, name + p.Message}
		}
		return nil, metrics.Query{}, err
	}
	field, text := "spec.counts.requests: ", t.Spec.Counts.Requests
	if bad {
		field, text = "spec.counts.bad: ", t.Spec.Counts.Bad
	}
	values := vars(c, metric)
	values.Version, values.Interval = version, interval
	if version == versionPrimary {
		values.Workload = c.PrimaryName()
	}
	values.Quoting = s.quoting(t, c.Namespace)
	query, err := s.parse(text)
	var expr string
	if err == nil {
		expr, err = query.Render(values)
	}
	if err == nil {
		err = checkQuery(provider, expr)
	}
	if err != nil {
		return nil, metrics.Query{}, &Problem{ReasonTemplateInvalid, name + field + err.Error()}
	}
	return provider, metrics.Query{Expr: expr}, nil
}

// Versions of an application, as {{ version }} names them.
const (
	versionCanary  = "canary"
	versionPrimary = "primary"
)

// VariablesAnnotation of a MetricTemplate says by [RawVariables] that templateVariables may be any part of its query.
const VariablesAnnotation = "sluice.dev/variables"

// RawVariables is the one value of [VariablesAnnotation].
const RawVariables = "raw"

// quoting says what the variables of a Canary may become of a template's query. Whoever may write both the Canary and the
// template may write expressions into variables, as with Flagger. That may be two people where the template is in another
// namespace, and where tenants are kept apart.
func (s *Sources) quoting(t *v1beta1.MetricTemplate, namespace string) *template.Quoting {
	if t.Annotations[VariablesAnnotation] == RawVariables {
		return nil
	}
	return &template.Quoting{Provider: t.Spec.Provider.Type, OnlyPlain: t.Namespace != namespace || s.NoCrossNamespace}
}

// checkQuery asks a provider that can tell what is wrong with a query before anybody is asked.
func checkQuery(provider metrics.Provider, expr string) error {
	checker, ok := provider.(metrics.Checker)
	if !ok {
		return nil
	}
	return checker.Check(metrics.Query{Expr: expr})
}

// Inline renders the query that a metric has itself, with the variables of templates.
// What somebody must mend is a [*Problem] of the field query.
func Inline(c *v1beta1.Canary, metric v1beta1.CanaryMetric) (metrics.Query, error) {
	query, err := template.Parse(metric.Query)
	if err != nil {
		return metrics.Query{}, &Problem{ReasonTemplateInvalid, "query: " + err.Error()}
	}
	expr, err := query.Render(vars(c, metric))
	if err != nil {
		return metrics.Query{}, &Problem{ReasonTemplateInvalid, "query: " + err.Error()}
	}
	return metrics.Query{Expr: expr}, nil
}

// Check says whether Canaries can use a MetricTemplate: nil, a [*Problem], or
// why that can't be told now. Nobody is asked but the API server, for the Secret.
func (s *Sources) Check(ctx context.Context, t *v1beta1.MetricTemplate) error {
	if raw, ok := t.Annotations[VariablesAnnotation]; ok && raw != RawVariables {
		return &Problem{ReasonTemplateInvalid, fmt.Sprintf("metadata.annotations[%s]: %q has no meaning: allowed is %s", VariablesAnnotation, raw, RawVariables)}
	}
	provider, query, err := s.check(ctx, t, t.Namespace)
	if err != nil {
		return err
	}
	expr, err := query.Check(t.Namespace)
	if err == nil && len(query.Variables()) == 0 { // else it depends on them
		err = checkQuery(provider, expr)
	}
	if err != nil {
		return &Problem{ReasonTemplateInvalid, "spec.query: " + err.Error()}
	}
	return s.checkCounts(t)
}

// checkCounts says what is wrong with the counts of a MetricTemplate, if it has any.
func (s *Sources) checkCounts(t *v1beta1.MetricTemplate) error {
	if t.Spec.Counts == nil {
		return nil
	}
	for _, x := range []struct{ field, query string }{{"requests", t.Spec.Counts.Requests}, {"bad", t.Spec.Counts.Bad}} {
		query, err := s.parse(x.query)
		if err == nil {
			_, err = query.Check(t.Namespace)
		}
		if err != nil {
			return &Problem{ReasonTemplateInvalid, "spec.counts." + x.field + ": " + err.Error()}
		}
	}
	return nil
}

// check makes what a template describes, for Canaries of a namespace.
func (s *Sources) check(ctx context.Context, t *v1beta1.MetricTemplate, namespace string) (metrics.Provider, *template.Template, error) {
	query, err := s.parse(t.Spec.Query)
	if err != nil {
		return nil, nil, &Problem{ReasonTemplateInvalid, "spec.query: " + err.Error()}
	}
	spec := t.Spec.Provider
	config := metrics.Config{
		Type: spec.Type, Address: spec.Address, Region: spec.Region, JSONPath: spec.JSONPath,
		Headers: http.Header{}, InsecureSkipVerify: spec.InsecureSkipVerify, Guard: s.guard(),
		// The operator asks for objects of the cluster with rights of its own.
		Namespaces:    slices.Compact(slices.Sorted(slices.Values([]string{namespace, t.Namespace}))),
		NoOwnIdentity: !slices.Contains(s.CloudIdentity, "*") && !slices.Contains(s.CloudIdentity, t.Namespace),
	}
	for name, values := range spec.Headers {
		for _, v := range values {
			config.Headers.Add(name, v)
		}
	}
	if ref := spec.SecretRef; ref != nil {
		if config.Secret, err = s.secret(ctx, "spec.provider.secretRef", t.Namespace, ref.Name, spec.Address); err != nil {
			return nil, nil, err
		}
	}
	provider, err := s.provider(config)
	if wrong := configError(err); wrong != nil {
		return nil, nil, &Problem{ReasonProviderInvalid, "spec.provider." + providerField(wrong.Field, spec) + ": " + wrong.Message}
	}
	return provider, query, err
}

// providerField names where the value of a field comes from.
func providerField(field string, spec v1beta1.MetricTemplateProvider) string {
	key, ok := strings.CutPrefix(field, "secret.")
	switch {
	case ok && spec.SecretRef != nil:
		return fmt.Sprintf("secretRef (%s, key %s)", spec.SecretRef.Name, key)
	case ok || field == "secret":
		return "secretRef"
	default:
		return field
	}
}

// parse reads a query once, whoever has it.
func (s *Sources) parse(query string) (*template.Template, error) {
	p, err := s.templates.get(sha256.Sum256([]byte(query)), func() (*parsed, error) {
		t, err := template.Parse(query)
		return &parsed{t, err}, nil
	})
	if err != nil {
		return nil, err
	}
	return p.template, p.err
}

// template reads the MetricTemplate that a Canary of a namespace refers to.
func (s *Sources) template(ctx context.Context, namespace string, ref *v1beta1.CrossNamespaceObjectReference) (*v1beta1.MetricTemplate, error) {
	key := Key(namespace, ref)
	switch {
	case key.Namespace != namespace && s.NoCrossNamespace:
		return nil, &Problem{ReasonCrossNamespace, fmt.Sprintf("templateRef: MetricTemplate %s is in another namespace, and references to other namespaces are off", key)}
	case len(s.Namespaces) > 0 && !slices.Contains(s.Namespaces, key.Namespace):
		return nil, &Problem{ReasonCrossNamespace, fmt.Sprintf("templateRef: MetricTemplate %s is in a namespace that the operator does not watch; it watches %s", key, strings.Join(s.Namespaces, ", "))}
	}
	t := &v1beta1.MetricTemplate{}
	if err := s.Reader.Get(ctx, key, t); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, &Problem{ReasonTemplateMissing, fmt.Sprintf("templateRef: there is no MetricTemplate %s in the namespace %s", key.Name, key.Namespace)}
		}
		return nil, fmt.Errorf("read MetricTemplate %s: %w", key, err)
	}
	return t, nil
}

// Key is the MetricTemplate that a Canary of a namespace refers to.
func Key(namespace string, ref *v1beta1.CrossNamespaceObjectReference) client.ObjectKey {
	key := client.ObjectKey{Namespace: namespace, Name: ref.Name}
	if ref.Namespace != "" {
		key.Namespace = ref.Namespace
	}
	return key
}

// vars are the values for a template, as Flagger gives them.
func vars(c *v1beta1.Canary, metric v1beta1.CanaryMetric) template.Vars {
	apex, _, _ := c.ServiceNames()
	v := template.Vars{
		Name: c.Name, Namespace: c.Namespace, Target: c.Spec.TargetRef.Name, Service: apex,
		Ingress: c.Spec.TargetRef.Name, Route: c.Spec.TargetRef.Name,
		Interval: metric.GetInterval(), Variables: metric.TemplateVariables,
		Workload: c.Spec.TargetRef.Name, Version: versionCanary,
	}
	if ref := c.Spec.IngressRef; ref != nil {
		v.Ingress = ref.Name
	}
	if ref := c.Spec.RouteRef; ref != nil {
		v.Route = ref.Name
	}
	return v
}
