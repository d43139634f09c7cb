package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sluice-delivery/sluice/test/cluster"
)

// Helm runs helm as administrator and returns its standard output. The error
// holds its standard error.
func (r *Rig) Helm(ctx context.Context, args ...string) (string, error) {
	binary, err := cluster.Binary("helm")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	home := filepath.Join(r.Dir(), "helm")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+r.Kubeconfig(),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return string(out), fmt.Errorf("helm %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// Chart is the folder of Sluice's chart.
func Chart() (string, error) {
	root, err := cluster.Root()
	return filepath.Join(root, "charts", "sluice"), err
}

// ServiceAccountKubeconfig writes a kubeconfig with a token of a ServiceAccount
// and returns its path.
func (r *Rig) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	config, err := r.ConfigFor(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	out := clientcmdapi.NewConfig()
	out.Clusters["sluice"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	out.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	out.Contexts["sluice"] = &clientcmdapi.Context{Cluster: "sluice", AuthInfo: name}
	out.CurrentContext = "sluice"
	path := filepath.Join(r.Dir(), namespace+"."+name+".kubeconfig")
	return path, clientcmd.WriteToFile(*out, path)
}
