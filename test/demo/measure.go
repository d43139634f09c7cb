package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// scrapeConfig has Prometheus read the pods that a file names.
const scrapeConfig = `global:
  scrape_interval: 1s
  evaluation_interval: 1s
scrape_configs:
- job_name: demo
  file_sd_configs:
  - files: [targets.json]
    refresh_interval: 1s
`

// metricsOf is where in a pod its requests are counted, by provider: by the application itself, or by its sidecar.
var metricsOf = map[string]string{"kubernetes": ":9898/proxy/metrics", "istio": ":15020/proxy/stats/prometheus"}

// podName is what Kubernetes allows as the name of a pod.
var podName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// metricsProxy gives Prometheus the metrics of the demo's pods, as /POD, with the user's rights. It gives nobody anything
// else: others on this machine reach it too.
func metricsProxy(config *rest.Config, provider string) (http.Handler, error) {
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	server.Path = "/" + strings.TrimPrefix(server.Path, "/") // what is joined to no path is none that can be asked for
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		out := server.JoinPath("api", "v1", "namespaces", demoNamespace, "pods", r.In.PathValue("pod")+metricsOf[provider])
		r.Out.URL, r.Out.Host = out, out.Host
		r.Out.Header = http.Header{"Accept": r.In.Header["Accept"]}
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{pod}", func(w http.ResponseWriter, r *http.Request) {
		if !podName.MatchString(r.PathValue("pod")) {
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	return mux, nil
}

// measure starts a Prometheus on this machine that reads the demo's pods, until ctx ends, and returns its URL.
func (d *demo) measure(ctx context.Context) (string, error) {
	binary, err := cluster.Binary("prometheus")
	if err != nil {
		return "", err
	}
	handler, err := metricsProxy(d.config, d.found.provider)
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })

	if err := os.WriteFile(filepath.Join(d.dir, "prometheus.yml"), []byte(scrapeConfig), 0o600); err != nil {
		return "", err
	}
	go d.followPods(ctx, listener.Addr().String())
	address, err := freeAddress()
	if err != nil {
		return "", err
	}
	prometheus, err := d.launch("prometheus", binary, "--config.file", filepath.Join(d.dir, "prometheus.yml"),
		"--storage.tsdb.path", filepath.Join(d.dir, "prometheus"), "--web.listen-address", address, "--log.level", "warn")
	if err != nil {
		return "", err
	}
	return "http://" + address, awaitReady(ctx, prometheus, "prometheus", "http://"+address+"/-/ready")
}

// followPods tells Prometheus of the demo's pods, until ctx ends.
func (d *demo) followPods(ctx context.Context, proxy string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if pods, err := d.clients.CoreV1().Pods(demoNamespace).List(ctx, metav1.ListOptions{}); err == nil {
			var names []string
			for i := range pods.Items {
				if p := &pods.Items[i]; p.Status.PodIP != "" && strings.HasPrefix(p.Name, rig.Name+"-") {
					names = append(names, p.Name)
				}
			}
			_ = writeTargets(d.dir, proxy, names) // what fails is tried again
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// writeTargets replaces the file in one step: Prometheus may read it at any moment.
func writeTargets(dir, proxy string, pods []string) error {
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	groups := []group{}
	for _, pod := range pods {
		groups = append(groups, group{[]string{proxy}, map[string]string{"__metrics_path__": "/" + pod, "instance": pod, "namespace": demoNamespace, "pod": pod}})
	}
	content, err := json.Marshal(groups)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "targets.json")
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// freeAddress is one of this machine's own that nobody listens at.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// awaitReady waits until a program answers at a URL that it is ready.
func awaitReady(ctx context.Context, program *cluster.Program, name, url string) error {
	return rig.Await(ctx, name, 30*time.Second, func(ctx context.Context) error {
		if err := program.Err(); err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, response.Status)
		}
		return nil
	})
}
