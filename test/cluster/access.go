package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Config returns a copy of the administrator's (group system:masters) client
// configuration, without a client-side rate limit.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// ConfigFor returns the configuration of a ServiceAccount, with a token that
// the API server issued for an hour. The account must exist.
func (c *Cluster) ConfigFor(ctx context.Context, namespace, name string) (*rest.Config, error) {
	clients, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return nil, err
	}
	seconds := int64(3600)
	token, err := clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("token for service account %s/%s: %w", namespace, name, err)
	}
	config := rest.CopyConfig(c.config)
	config.BearerToken = token.Status.Token
	config.UserAgent = namespace + "/" + name
	return config, nil
}

// Client returns an administrator's client for the types of scheme. It reads
// from the API server, not from a cache.
func (c *Cluster) Client(scheme *runtime.Scheme) (client.Client, error) {
	return client.New(c.Config(), client.Options{Scheme: scheme})
}

// Kubeconfig is the path of an administrator's kubeconfig for programs inside
// the cluster's network namespace.
func (c *Cluster) Kubeconfig() string { return c.userKubeconfig(adminUser) }

// HostKubeconfig is the path of an administrator's kubeconfig for programs
// outside, on the machine that the cluster runs on.
func (c *Cluster) HostKubeconfig() string { return c.path("host.kubeconfig") }

func (c *Cluster) userKubeconfig(user string) string { return c.path(user + ".kubeconfig") }

func (c *Cluster) writeKubeconfigs(ca []byte) error {
	for user := range c.tokens {
		if err := c.writeKubeconfig(c.userKubeconfig(user), apiServerAddress, user, ca); err != nil {
			return err
		}
	}
	return c.writeKubeconfig(c.HostKubeconfig(), hostAddress, adminUser, ca)
}

func (c *Cluster) writeKubeconfig(path, address, user string, ca []byte) error {
	const name = "sluice"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: "https://" + address, CertificateAuthorityData: ca}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: c.tokens[user]}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	return clientcmd.WriteToFile(*config, path)
}

// Kubectl runs kubectl as administrator and returns its standard output. The
// error holds its standard error.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	binary, err := Binary("kubectl")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return string(out), fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// forward hands every connection of listener, which belongs to the host's
// namespace, to address in this one. It never ends: the listener lives as long
// as the program.
func forward(listener net.Listener, address string) {
	for {
		outside, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer outside.Close()
			inside, err := net.Dial("tcp", address)
			if err != nil {
				return // no cluster runs now
			}
			defer inside.Close()
			var wg sync.WaitGroup
			wg.Go(func() { pipe(inside, outside) })
			wg.Go(func() { pipe(outside, inside) })
			wg.Wait()
		}()
	}
}

// pipe copies until from ends, then lets to know. Errors mean that a side has
// gone, which ends the other direction too.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
