package main

import (
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sluice-delivery/sluice/test/rig"
)

// target is the cluster of the current context of the user's kubeconfig.
type target struct {
	context, server string
	config          *rest.Config
	clients         kubernetes.Interface
	api             client.WithWatch
	// pinned is the kubeconfig with nothing but this context: whoever gets it stays with this cluster whatever the user does
	// to his own meanwhile.
	pinned clientcmdapi.Config
}

// connect reads the kubeconfig as kubectl does: the files of KUBECONFIG, else ~/.kube/config. Nothing is sent.
func connect() (*target, error) {
	loading := clientcmd.NewDefaultClientConfigLoadingRules()
	raw, err := loading.Load()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	pinned, err := pin(*raw)
	if err != nil {
		return nil, err
	}
	t := &target{context: pinned.CurrentContext, server: pinned.Clusters[pinned.Contexts[pinned.CurrentContext].Cluster].Server, pinned: pinned}
	if t.config, err = clientcmd.NewDefaultClientConfig(pinned, nil).ClientConfig(); err != nil {
		return nil, fmt.Errorf("context %s of the kubeconfig: %w", t.context, err)
	}
	t.config.UserAgent = "sluice-demo"
	t.config.QPS, t.config.Burst = 20, 40
	if t.clients, err = kubernetes.NewForConfig(t.config); err != nil {
		return nil, err
	}
	scheme, err := rig.Scheme()
	if err != nil {
		return nil, err
	}
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	t.api, err = client.NewWithWatch(t.config, client.Options{Scheme: scheme})
	return t, err
}

// pin leaves of a kubeconfig what its current context needs, with the files it names in it.
func pin(config clientcmdapi.Config) (clientcmdapi.Config, error) {
	switch c := config.Contexts[config.CurrentContext]; {
	case config.CurrentContext == "":
		return config, errors.New("the kubeconfig has no current context: choose one with kubectl config use-context, or name a file with KUBECONFIG")
	case c == nil:
		return config, fmt.Errorf("the kubeconfig has no context %q, which is its current one", config.CurrentContext)
	case config.Clusters[c.Cluster] == nil:
		return config, fmt.Errorf("the kubeconfig has no cluster %q, which its context %q names", c.Cluster, config.CurrentContext)
	}
	pinned := *config.DeepCopy()
	if err := clientcmdapi.MinifyConfig(&pinned); err != nil {
		return config, err
	}
	if err := clientcmdapi.FlattenConfig(&pinned); err != nil {
		return config, err
	}
	return pinned, nil
}

// write puts the pinned kubeconfig, which has credentials in it, where only the user can read it.
func (t *target) write(path string) error {
	if err := clientcmd.WriteToFile(t.pinned, path); err != nil {
		return err
	}
	return os.Chmod(path, 0o600)
}
