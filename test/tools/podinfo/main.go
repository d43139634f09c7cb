// Command pod is podinfo as the embedded cluster's node runs it: its own HTTP
// and gRPC servers in one process, on the address of one pod, in the version of
// the pod's image, and able to fail or to be slow.
//
// Beside podinfo's flags and PODINFO_ variables it reads from the environment:
//
//	SLUICE_POD_IP         the address to listen on; the node sets it
//	SLUICE_POD_VERSION    the version to answer with; the node sets it
//	SLUICE_ERROR_PERCENT  0 to 100, the share of requests that fail
//	SLUICE_DELAY_MS       milliseconds that a request waits
//	SLUICE_DELAY_PERCENT  0 to 100, the share of requests that do; 100 where it is not set
//
// Called by the name curl, it is what scripts of containers call by that name.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	podgrpc "github.com/stefanprodan/podinfo/pkg/api/grpc"
	podhttp "github.com/stefanprodan/podinfo/pkg/api/http"
	"github.com/stefanprodan/podinfo/pkg/signals"
	"github.com/stefanprodan/podinfo/pkg/version"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

func main() {
	if filepath.Base(os.Args[0]) == "curl" {
		os.Exit(curl(os.Args[1:], os.Stdout, os.Stderr))
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if err := configure(args); err != nil {
		return err
	}
	faults, err := faultsFromEnv()
	if err != nil {
		return err
	}
	logger, err := newLogger(viper.GetString("level"))
	if err != nil {
		return err
	}
	var httpConfig podhttp.Config
	if err := viper.Unmarshal(&httpConfig); err != nil {
		return err
	}
	var grpcConfig podgrpc.Config
	if err := viper.Unmarshal(&grpcConfig); err != nil {
		return err
	}

	var front *grpc.Server
	if grpcConfig.Port > 0 {
		if front, err = serveGRPC(grpcConfig, faults, logger); err != nil {
			return err
		}
	}
	server, err := podhttp.NewServer(&httpConfig, logger)
	if err != nil {
		return err
	}
	plain, secure, healthy, ready := server.ListenAndServe()
	// The server reads its handler anew for every request, and nobody sends one
	// before the pod is ready.
	plain.Handler = faults.http(plain.Handler)

	shutdown, err := signals.NewShutdown(httpConfig.ServerShutdownTimeout, logger)
	if err != nil {
		return err
	}
	shutdown.Graceful(signals.SetupSignalHandler(), plain, secure, front, healthy, ready)
	return nil
}

// configure fills viper, from which podinfo's packages read, with flags, the
// environment and what the node says of the pod.
func configure(args []string) error {
	if v := os.Getenv("SLUICE_POD_VERSION"); v != "" {
		version.VERSION = v
	}
	fs := pflag.NewFlagSet("pod", pflag.ContinueOnError)
	fs.ParseErrorsAllowlist.UnknownFlags = true // podinfo has more than matter here
	fs.Int("port", 9898, "HTTP port")
	fs.Int("secure-port", 0, "HTTPS port")
	fs.Int("port-metrics", 0, "port of /metrics, on all addresses")
	fs.Int("grpc-port", 0, "gRPC port")
	fs.String("grpc-service-name", "podinfo", "name in the gRPC health service")
	fs.String("level", "info", "log level; debug ends at once on SIGTERM, as podinfo does")
	fs.StringSlice("backend-url", nil, "backend service URL")
	fs.Duration("http-client-timeout", 2*time.Minute, "client timeout")
	fs.Duration("http-server-timeout", 30*time.Second, "server read and write timeout")
	fs.Duration("server-shutdown-timeout", 5*time.Second, "limit of the graceful stop")
	fs.String("config-path", "", "folder with configs to watch")
	fs.String("data-path", "/data", "folder for stored data")
	fs.String("ui-message", "greetings from podinfo v"+version.VERSION, "message")
	fs.String("ui-color", "#34577c", "color")
	fs.String("ui-logo", "", "logo")
	fs.Bool("h2c", false, "HTTP/2 without TLS")
	fs.Bool("random-delay", false, "random delay of HTTP requests")
	fs.String("random-delay-unit", "s", "s or ms")
	fs.Int("random-delay-min", 0, "shortest delay")
	fs.Int("random-delay-max", 5, "longest delay")
	fs.Bool("random-error", false, "a third of HTTP requests fails")
	fs.Bool("unhealthy", false, "never become healthy")
	fs.Bool("unready", false, "never become ready")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := viper.BindPFlags(fs); err != nil {
		return err
	}
	viper.Set("host", os.Getenv("SLUICE_POD_IP"))
	viper.Set("hostname", os.Getenv("HOSTNAME"))
	viper.SetDefault("jwt-secret", "none")
	viper.SetEnvPrefix("PODINFO")
	viper.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	viper.AutomaticEnv()
	return nil
}

func newLogger(level string) (*zap.Logger, error) {
	config := zap.NewProductionConfig()
	parsed, err := zap.ParseAtomicLevel(level)
	if err != nil {
		return nil, err
	}
	config.Level = parsed
	return config.Build()
}
