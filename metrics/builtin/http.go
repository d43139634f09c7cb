package builtin

import (
	"fmt"
	"regexp"
	"strconv"
)

// httpSelector picks what the target's pods count themselves, where there is no mesh that
// does. Prometheus knows the pods by the labels of its Kubernetes discovery.
func httpSelector(v Vars, more string) string {
	return fmt.Sprintf(`{%s,kubernetes_pod_name=~%s%s}[%s]`,
		matcher("kubernetes_namespace", v.Namespace), strconv.Quote(podPattern(v)), more, v.Interval)
}

// podPattern fits the names of the target's pods, and not those of its primary's.
func podPattern(v Vars) string {
	name := regexp.QuoteMeta(v.Target)
	switch v.Kind {
	case "StatefulSet":
		return name + "-[0-9]+"
	case "DaemonSet":
		return name + "-[0-9a-z]{5}"
	default:
		return name + "-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"
	}
}

// httpSuccessRate is the percentage, 0 to 100, of requests without a status of 500 or more.
func httpSuccessRate(v Vars) string {
	const counter = "http_request_duration_seconds_count"
	all := counter + httpSelector(v, "")
	good := counter + httpSelector(v, `,status!~"5.*"`)
	return fmt.Sprintf("(sum(rate(%s)) or 0 * sum(rate(%s))) / sum(rate(%s)) * 100", good, all, all)
}

// httpDuration is the 99th percentile in milliseconds.
func httpDuration(v Vars) string {
	return fmt.Sprintf("1000 * histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket%s)))", httpSelector(v, ""))
}
