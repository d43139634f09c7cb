package cluster

import (
	"context"
	"fmt"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	istioNamespace = "istio-system"
	xdsAddress     = "127.0.0.1:15010"

	meshConfig = `accessLogFile: ""
defaultConfig:
  discoveryAddress: ` + xdsAddress + "\n"
)

// IstioCRDs returns the file with Istio's CRDs, from the istio.io/api module
// that this module is built with. InstallCRDs takes it, for a cluster that needs
// Istio's kinds and no istiod.
func IstioCRDs(ctx context.Context) (string, error) {
	return inModule(ctx, "istio.io/api", "kubernetes", "customresourcedefinitions.gen.yaml")
}

// meshCRDs are the files with the CRDs that the options ask for.
func (c *Cluster) meshCRDs(ctx context.Context) (files []string, err error) {
	if c.options.GatewayAPI != "" {
		if files, err = GatewayCRDs(ctx, c.options.GatewayAPI); err != nil {
			return nil, err
		}
	}
	if c.options.Istio {
		file, err := IstioCRDs(ctx)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// startIstio starts istiod, whose CRDs are installed, and waits until it serves.
func (c *Cluster) startIstio(ctx context.Context) error {
	binary, err := Binary("pilot-discovery")
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: istioNamespace}}
	if _, err := clients.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("namespace of istiod: %w", err)
	}
	if err := os.WriteFile(c.path("mesh.yaml"), []byte(meshConfig), 0o600); err != nil {
		return err
	}
	// Every port on 127.0.0.1, and the ones a sidecar would use off: pods may
	// listen on any port of their own addresses.
	istiod, err := c.run("istiod", unhurriedGC("POD_NAMESPACE="+istioNamespace, "POD_NAME=istiod", "ENABLE_CA_SERVER=false"),
		binary, "discovery", "--kubeconfig", c.userKubeconfig(istioUser), "--meshConfig", c.path("mesh.yaml"),
		"--grpcAddr", xdsAddress, "--secureGRPCAddr", "", "--httpAddr", "127.0.0.1:15080", "--httpsAddr", "",
		"--monitoringAddr", "127.0.0.1:15014", "--ctrlz_port", "0",
		"--kubernetesApiQPS", "1000", "--kubernetesApiBurst", "2000")
	if err != nil {
		return err
	}
	if err := waitFor(ctx, "istiod", readyLimit, []*process{istiod}, func(ctx context.Context) error {
		return httpOK(ctx, http.DefaultClient, "http://127.0.0.1:15080/ready")
	}); err != nil {
		return err
	}
	c.progress("istiod is ready")
	return nil
}
