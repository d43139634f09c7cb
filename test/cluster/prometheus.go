package cluster

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	prometheusAddress = "127.0.0.1:9090"

	prometheusConfig = `global:
  scrape_interval: 1s
  evaluation_interval: 1s
storage:
  tsdb:
    out_of_order_time_window: 7h # a test may have a target tell of a past that no test can wait for
scrape_configs:
- job_name: mesh
  file_sd_configs:
  - files: [targets.json]
    refresh_interval: 1s
`
)

// PrometheusURL is the address of the cluster's Prometheus, for programs inside
// the network namespace. Start must have been asked for one.
func (c *Cluster) PrometheusURL() string { return "http://" + prometheusAddress }

func (c *Cluster) startPrometheus(ctx context.Context) error {
	binary, err := Binary("prometheus")
	if err != nil {
		return err
	}
	if err := c.writeTargets(); err != nil {
		return err
	}
	if err := os.WriteFile(c.path("prometheus.yml"), []byte(prometheusConfig), 0o600); err != nil {
		return err
	}
	server, err := c.run("prometheus", unhurriedGC(), binary,
		"--config.file", c.path("prometheus.yml"), "--storage.tsdb.path", c.path("prometheus"),
		"--web.listen-address", prometheusAddress, "--log.level", "warn")
	if err != nil {
		return err
	}
	if err := waitFor(ctx, "prometheus", readyLimit, []*process{server}, func(ctx context.Context) error {
		return httpOK(ctx, http.DefaultClient, c.PrometheusURL()+"/-/ready")
	}); err != nil {
		return err
	}
	c.progress("prometheus is ready")
	return nil
}

// Scrape adds a target (host:port, serving /metrics) to Prometheus.
func (c *Cluster) Scrape(target string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.targets = append(c.targets, target)
	return c.writeTargets()
}

// targetGroup are targets with labels of their own, as Prometheus reads them from a file.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// followPods has Prometheus scrape the pods that ask for it by the usual annotations, until ctx ends.
func (c *Cluster) followPods(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		groups := annotated(c.node.store.List())
		c.mu.Lock()
		if !reflect.DeepEqual(groups, c.pods) {
			c.pods = groups
			if err := c.writeTargets(); err != nil {
				c.pods = nil // it is tried again
			}
		}
		c.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// annotated are the pods among objects that have the annotations prometheus.io/scrape and port, by the labels that a
// Prometheus which finds pods by them gives to theirs.
func annotated(objects []any) []targetGroup {
	var out []targetGroup
	for _, o := range objects {
		pod, ok := o.(*corev1.Pod)
		if !ok || pod.Annotations["prometheus.io/scrape"] != "true" || pod.Status.PodIP == "" {
			continue
		}
		out = append(out, targetGroup{
			Targets: []string{net.JoinHostPort(pod.Status.PodIP, pod.Annotations["prometheus.io/port"])},
			Labels:  map[string]string{"kubernetes_namespace": pod.Namespace, "kubernetes_pod_name": pod.Name},
		})
	}
	slices.SortFunc(out, func(a, b targetGroup) int { return strings.Compare(a.Targets[0], b.Targets[0]) })
	return out
}

// writeTargets replaces the file in one step: Prometheus may read it at any moment.
func (c *Cluster) writeTargets() error {
	groups := []targetGroup{}
	if len(c.targets) > 0 {
		groups = append(groups, targetGroup{Targets: c.targets})
	}
	content, err := json.Marshal(append(groups, c.pods...))
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("targets.new"), content, 0o600); err != nil {
		return err
	}
	return os.Rename(c.path("targets.new"), c.path("targets.json"))
}
