package cluster

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
)

const (
	apiServerAddress = "127.0.0.1:6443"
	etcdURL          = "http://127.0.0.1:2379"
	etcdPeerURL      = "http://127.0.0.1:2380"

	readyLimit = 90 * time.Second

	// controllers are those that workloads, services and deletion need.
	controllers = "namespace-controller,serviceaccount-controller,deployment-controller,replicaset-controller," +
		"endpointslice-controller,garbage-collector-controller,daemonset-controller,statefulset-controller," +
		"horizontal-pod-autoscaler-controller,persistentvolumeclaim-protection-controller"
)

// users of the token file; all of them are cluster administrators, under names
// of their own so that managed fields and audit logs tell them apart.
const (
	adminUser      = "admin"
	controllerUser = "kube-controller-manager"
	nodeUser       = "node"
	istioUser      = "istiod"
)

type controlPlane struct {
	binaries map[string]string
	servers  []*process
}

// startAPIServer starts etcd and kube-apiserver and waits until the API is ready.
func (c *Cluster) startAPIServer(ctx context.Context) (plane controlPlane, err error) {
	plane.binaries = map[string]string{}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if plane.binaries[name], err = Binary(name); err != nil {
			return plane, err
		}
	}
	if err := c.writeSecrets(); err != nil {
		return plane, fmt.Errorf("prepare the control plane: %w", err)
	}
	etcd, err := c.run("etcd", unhurriedGC(), plane.binaries["etcd"],
		"--data-dir", c.path("etcd"), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
		"--listen-peer-urls", etcdPeerURL, "--initial-advertise-peer-urls", etcdPeerURL,
		"--initial-cluster", "default="+etcdPeerURL)
	if err != nil {
		return plane, err
	}
	args, err := c.apiServerArgs(apiServerAddress, "/registry")
	if err != nil {
		return plane, err
	}
	api, err := c.run("kube-apiserver", unhurriedGC(), append(append([]string{plane.binaries["kube-apiserver"]}, args...), c.options.APIServerArgs...)...)
	if err != nil {
		return plane, err
	}
	plane.servers = []*process{etcd, api}
	if err := waitFor(ctx, "kube-apiserver", readyLimit, plane.servers, c.apiReady); err != nil {
		return plane, err
	}
	c.progress("etcd and kube-apiserver are ready")
	return plane, nil
}

// apiServerArgs are those of an API server that keeps its objects under prefix.
func (c *Cluster) apiServerArgs(address, prefix string) ([]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return []string{
		"--etcd-servers", etcdURL, "--etcd-prefix", prefix, "--bind-address", host, "--secure-port", port, "--advertise-address", host,
		"--endpoint-reconciler-type", "none", "--kubelet-preferred-address-types", "InternalIP", "--service-cluster-ip-range", "10.96.0.0/16",
		"--tls-cert-file", c.path("apiserver.crt"), "--tls-private-key-file", c.path("apiserver.key"),
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", c.path("sa.pub"), "--service-account-signing-key-file", c.path("sa.key"),
		"--token-auth-file", c.path("tokens.csv"), "--authorization-mode", "RBAC",
		"--max-requests-inflight", "4000", "--max-mutating-requests-inflight", "2000", "--profiling=false",
	}, nil
}

func (c *Cluster) apiReady(ctx context.Context) error {
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		return err
	}
	return httpOK(ctx, client, c.config.Host+"/readyz")
}

// startControllers starts kube-controller-manager and waits for its first work.
func (c *Cluster) startControllers(ctx context.Context, plane controlPlane) error {
	argv := append([]string{
		plane.binaries["kube-controller-manager"],
		"--kubeconfig", c.userKubeconfig(controllerUser), "--leader-elect=false", "--secure-port", "0",
		"--service-account-private-key-file", c.path("sa.key"), "--controllers", controllers,
		"--kube-api-qps", "2000", "--kube-api-burst", "4000",
		"--concurrent-deployment-syncs", "20", "--concurrent-replicaset-syncs", "20",
		"--concurrent-service-endpoint-syncs", "10",
	}, c.options.ControllerManagerArgs...)
	manager, err := c.run("kube-controller-manager", unhurriedGC(), argv...)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return err
	}
	// Without this account the API server refuses pods in the namespace.
	err = waitFor(ctx, "kube-controller-manager", readyLimit, append(plane.servers, manager), func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err == nil {
		c.progress("kube-controller-manager is ready")
	}
	return err
}

// writeSecrets makes the keys, certificate, tokens and kubeconfigs, so that no
// server has to wait for a file of another.
func (c *Cluster) writeSecrets() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	cert, certKey, err := certutil.GenerateSelfSignedCertKey("localhost",
		[]net.IP{net.IPv4(127, 0, 0, 1)}, []string{"kubernetes", "kubernetes.default.svc"})
	if err != nil {
		return err
	}
	// Random, because other users of this machine can reach the host's listener.
	c.tokens = map[string]string{}
	var tokens []byte
	for _, user := range []string{adminUser, controllerUser, nodeUser, istioUser} {
		c.tokens[user] = rand.Text()
		tokens = fmt.Appendf(tokens, "%s,%s,%s,system:masters\n", c.tokens[user], user, user)
	}
	for name, content := range map[string][]byte{
		"sa.key":        pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"sa.pub":        pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}),
		"apiserver.crt": cert,
		"apiserver.key": certKey,
		"tokens.csv":    tokens,
	} {
		if err := os.WriteFile(c.path(name), content, 0o600); err != nil {
			return err
		}
	}
	c.config = c.configOf(adminUser, cert)
	return c.writeKubeconfigs(cert)
}

func (c *Cluster) configOf(user string, ca []byte) *rest.Config {
	return &rest.Config{
		Host:            "https://" + apiServerAddress,
		BearerToken:     c.tokens[user],
		QPS:             -1, // no client-side limit
		UserAgent:       user,
		TLSClientConfig: rest.TLSClientConfig{CAData: ca},
	}
}

func httpOK(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}
