package builtin

import (
	"fmt"
	"regexp"

	"github.com/sluice-delivery/sluice/metrics"
)

// application is what the target's pods count themselves. Prometheus knows the pods by
// the labels that Flagger's scrape configuration gives them.
var application = applicationBy("application", "kubernetes_namespace", "kubernetes_pod_name")

// applicationPods is the same by the labels of the Prometheus Operator.
var applicationPods = applicationBy("application-pods", "namespace", "pod")

func applicationBy(name, namespace, pod string) Source {
	return Source{
		Name: name,
		Advice: "does the application expose the histogram http_request_duration_seconds with a label status, and does Prometheus scrape its pods with the labels " +
			namespace + " and " + pod + "?",
		NeedsCanary: true,
		counter:     "http_request_duration_seconds_count",
		buckets:     "http_request_duration_seconds_bucket",
		scale:       1000,
		success:     `status!~"5.*"`,
		version: func(of Version, v Vars) string {
			return matcher(namespace, v.Namespace) + "," + pattern(pod, podPattern(v.Kind, v.workload(of)))
		},
		refused: tellApart,
	}
}

// What Kubernetes makes the names of pods of: it cuts what it puts a random part after,
// and hashes and random parts have neither vowels nor the digits that look like them.
const (
	maxBase = 58
	letters = "[bcdfghjklmnpqrstvwxz2456789]"
)

// Kinds of targets whose pods are not named as those of a Deployment.
const (
	kindStatefulSet = "StatefulSet"
	kindDaemonSet   = "DaemonSet"
	kindService     = "Service"
)

// podPattern fits the names of a workload's pods, and not those of its primary's: the word
// has letters that no hash has. With long names the random part follows a hash that is cut
// off, without a dash.
func podPattern(kind, workload string) string {
	name := regexp.QuoteMeta(workload)
	switch kind {
	case kindStatefulSet:
		return name + "-[0-9]+"
	case kindDaemonSet:
		return regexp.QuoteMeta(base(workload)) + letters + "{5}"
	}
	const shortest, longest = 6, 10 // hashes of pod templates
	switch room := maxBase - len(workload) - 1; {
	case room >= longest+1:
		return fmt.Sprintf("%s-%s{%d,%d}-%s{5}", name, letters, shortest, longest, letters)
	case room > shortest:
		return fmt.Sprintf("%s-(%s{%d,%d}-%s{5}|%s{%d})", name, letters, shortest, room-1, letters, letters, room+5)
	case room >= 0:
		return fmt.Sprintf("%s-%s{%d}", name, letters, room+5)
	default:
		return regexp.QuoteMeta(workload[:maxBase]) + letters + "{5}"
	}
}

// base is what a random part is put after in the names of a workload's pods.
func base(workload string) string {
	out := workload + "-"
	return out[:min(len(out), maxBase)]
}

// longestName is the longest name of a Deployment whose pods can be told from its
// primary's by their names.
const longestName = 54

// tellApart refuses names so long that the names of both versions' pods are cut to the
// same, or to what may be the same.
func tellApart(v Vars) error {
	most := longestName
	switch v.Kind {
	case kindStatefulSet:
		return nil
	case kindDaemonSet:
		most = maxBase - 2
	case kindService:
		return &metrics.QueryError{Message: "the pods of a Service can't be found by their names: write a MetricTemplate"}
	}
	if len(v.Target) > most {
		return &metrics.QueryError{Message: fmt.Sprintf(
			"the pods of %s can't be told from those of %s, as Kubernetes cuts their names: the name may have %d characters; write a MetricTemplate or give the workload a shorter name",
			v.Target, v.Primary, most)}
	}
	return nil
}
