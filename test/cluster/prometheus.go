package cluster

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
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
	server, err := c.run("prometheus", nil, binary,
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

// writeTargets replaces the file in one step: Prometheus may read it at any moment.
func (c *Cluster) writeTargets() error {
	groups := []map[string][]string{}
	if len(c.targets) > 0 {
		groups = append(groups, map[string][]string{"targets": c.targets})
	}
	content, err := json.Marshal(groups)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("targets.new"), content, 0o600); err != nil {
		return err
	}
	return os.Rename(c.path("targets.new"), c.path("targets.json"))
}
