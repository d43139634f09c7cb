// Command meshclient is a service in the mesh that calls another one, podinfo,
// at a steady rate. It is its own data plane: gRPC's xDS resolver asks istiod
// for routes and endpoints and obeys them, as a sidecar would. What it really
// saw is published as Istio's and as Linkerd's metrics at /metrics and as JSON at /report.
//
// "meshclient routes", "clusters", "endpoints" and "listeners" print what a sidecar or a gateway would be
// told instead.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/xds"
)

type options struct {
	target     string
	rate       float64
	timeout    time.Duration
	name       string
	namespace  string
	kubeconfig string
	listen     string
	headers    string
	marks      string
	share      float64
	xds        string
	ip         string
}

func main() {
	if len(os.Args) > 1 {
		if command, ok := commands[os.Args[1]]; ok {
			if err := command(context.Background(), os.Args[2:], os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, "meshclient:", err)
				os.Exit(1)
			}
			return
		}
	}
	var o options
	flag.StringVar(&o.target, "target", "", "service to call, HOST:PORT, as in podinfo.test.svc.cluster.local:9999")
	flag.Float64Var(&o.rate, "rate", 100, "requests a second")
	flag.DurationVar(&o.timeout, "timeout", 2*time.Second, "deadline of a request")
	flag.StringVar(&o.name, "name", "meshclient", "name of this workload")
	flag.StringVar(&o.namespace, "namespace", "default", "namespace of this workload")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig, to look up who answered")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:9797", "address of /metrics and /report")
	flag.StringVar(&o.headers, "headers", "", "headers of every request, NAME=VALUE,...")
	flag.StringVar(&o.marks, "marks", "", "headers of a share of the requests, NAME=VALUE,...; they are also counted apart")
	flag.Float64Var(&o.share, "marked-share", 0, "the share of the requests that have them, 0 to 1")
	flag.StringVar(&o.xds, "xds", "127.0.0.1:15010", "istiod's xDS address, without TLS")
	flag.StringVar(&o.ip, "ip", "10.244.0.1", "address of this workload")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "meshclient:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	host, _, err := net.SplitHostPort(o.target)
	if err != nil {
		return fmt.Errorf("-target: %w", err)
	}
	if o.rate <= 0 {
		return errors.New("-rate must be above 0")
	}
	if !(o.share >= 0 && o.share <= 1) {
		return errors.New("-marked-share must be 0 to 1")
	}
	headers, err := parseHeaders(o.headers)
	if err != nil {
		return fmt.Errorf("-headers: %w", err)
	}
	marks, err := parseHeaders(o.marks)
	if err != nil {
		return fmt.Errorf("-marks: %w", err)
	}
	pods, err := watchPods(ctx, o.kubeconfig)
	if err != nil {
		return err
	}
	conn, err := dial(o)
	if err != nil {
		return err
	}
	defer conn.Close()

	registry := prometheus.NewRegistry()
	record := newRecorder(registry, o.name, o.namespace, host)
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/report", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(record.report(time.Now())) // a caller that went away
	})
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(listener, mux) }()

	l := load{
		conn: conn, pods: pods, record: record, rate: o.rate, timeout: o.timeout,
		headers: headers, marks: metadata.Join(headers, marks), share: o.share,
	}
	go l.run(ctx)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// dial makes a connection whose routes and endpoints come from istiod.
func dial(o options) (*grpc.ClientConn, error) {
	bootstrap, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri":      o.xds,
			"channel_creds":   []any{map[string]any{"type": "insecure"}},
			"server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{
			"id":       fmt.Sprintf("sidecar~%s~%s.%s~%s.svc.cluster.local", o.ip, o.name, o.namespace, o.namespace),
			"metadata": map[string]string{"GENERATOR": "grpc", "NAMESPACE": o.namespace, "CLUSTER_ID": "Kubernetes"},
		},
	})
	if err != nil {
		return nil, err
	}
	resolver, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("xds:///"+o.target, grpc.WithResolvers(resolver),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func parseHeaders(list string) (metadata.MD, error) {
	headers := metadata.MD{}
	if list == "" {
		return headers, nil
	}
	for _, header := range strings.Split(list, ",") {
		name, value, found := strings.Cut(header, "=")
		if !found {
			return nil, fmt.Errorf("%q is not NAME=VALUE", header)
		}
		headers.Append(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return headers, nil
}
