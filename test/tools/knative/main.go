// Command knative-route answers what Knative makes of spec.traffic of a Service. It reads worlds as JSON, one after another: a
// Service, and its revisions with whether they are ready. For each it prints, as JSON, what the validation of the API says
// against the Service, and where its controller of routes leads requests.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/serving/pkg/apis/serving"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
	listers "knative.dev/serving/pkg/client/listers/serving/v1"
	"knative.dev/serving/pkg/reconciler/route/traffic"
	"knative.dev/serving/pkg/reconciler/service/resources"
)

// world is a Service and its revisions.
type world struct {
	Service v1.Service
	// Revisions says of each whether it is ready, the newest of them is Newest.
	Revisions map[string]bool
	Newest    string
}

// answer is what is printed.
type answer struct {
	// Invalid is why the API refuses the Service, NotReady why the controller leads requests as before.
	Invalid, NotReady string
	// Targets are the shares of revisions, in percent, by the tag of their address. That of the Service itself is "".
	Targets map[string]map[string]int64
}

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	from, to := json.NewDecoder(in), json.NewEncoder(out)
	for {
		w := world{}
		err := from.Decode(&w)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a world: %w", err)
		}
		says, err := w.judge(ctx)
		if err != nil {
			return err
		}
		if err := to.Encode(says); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
}

func (w *world) judge(ctx context.Context) (*answer, error) {
	s := &w.Service
	s.SetDefaults(apis.WithinCreate(ctx))
	if err := s.Validate(ctx).Filter(apis.ErrorLevel); err != nil {
		return &answer{Invalid: err.Error()}, nil
	}
	configurations, revisions, err := w.listers()
	if err != nil {
		return nil, err
	}
	config, err := traffic.BuildTrafficConfiguration(configurations, revisions, resources.MakeRoute(s))
	if err != nil {
		return &answer{NotReady: err.Error()}, nil //nolint:nilerr // it is what the judge says
	}
	out := &answer{Targets: map[string]map[string]int64{}}
	for tag, targets := range config.Targets {
		if tag == traffic.DefaultTarget {
			tag = ""
		}
		out.Targets[tag] = map[string]int64{}
		for _, target := range targets {
			if target.Percent != nil && *target.Percent > 0 {
				out.Targets[tag][target.RevisionName] += *target.Percent
			}
		}
	}
	return out, nil
}

// listers have the configuration and the revisions that there are.
func (w *world) listers() (listers.ConfigurationLister, listers.RevisionLister, error) {
	s := &w.Service
	index := func() cache.Indexer {
		return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	}
	configurations, revisions := index(), index()
	config := &v1.Configuration{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}}
	config.Status.LatestCreatedRevisionName = w.Newest
	labels := map[string]string{serving.ServiceLabelKey: s.Name, serving.ConfigurationLabelKey: s.Name}
	for name, ready := range w.Revisions {
		r := &v1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name, Labels: labels}}
		status := corev1.ConditionFalse
		if ready {
			status = corev1.ConditionTrue
			if name == w.Newest {
				config.Status.LatestReadyRevisionName = name
			}
		}
		r.Status.Conditions = duckv1.Conditions{{Type: v1.RevisionConditionReady, Status: status}}
		if err := revisions.Add(r); err != nil {
			return nil, nil, fmt.Errorf("keep revision %s: %w", name, err)
		}
	}
	if err := configurations.Add(config); err != nil {
		return nil, nil, fmt.Errorf("keep the configuration: %w", err)
	}
	return listers.NewConfigurationLister(configurations), listers.NewRevisionLister(revisions), nil
}
