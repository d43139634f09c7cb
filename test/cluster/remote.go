package cluster

import (
	"context"
	"errors"
	"os"

	"k8s.io/client-go/rest"
)

const (
	remoteName    = "remote-kube-apiserver"
	remoteAddress = "127.0.0.1:6543"
	remotePrefix  = "/remote"
)

// StartRemote starts the API server of a second cluster, as a mesh has it that is configured
// elsewhere. It has no controllers and no nodes, and the first cluster's users. It
// can be started once and ends with the first.
func (c *Cluster) StartRemote(ctx context.Context) (*Cluster, error) {
	binary, err := Binary("kube-apiserver")
	if err != nil {
		return nil, err
	}
	remote := &Cluster{dir: c.path("remote"), began: c.began, config: rest.CopyConfig(c.config), tokens: c.tokens}
	remote.config.Host = "https://" + remoteAddress
	if err := os.Mkdir(remote.dir, 0o700); err != nil {
		return nil, err
	}
	if err := remote.writeKubeconfig(remote.Kubeconfig(), remoteAddress, adminUser, remote.config.CAData); err != nil {
		return nil, err
	}
	args, err := c.apiServerArgs(remoteAddress, remotePrefix)
	if err != nil {
		return nil, err
	}
	api, err := c.run(remoteName, unhurriedGC(), append([]string{binary}, args...)...)
	if err != nil {
		return nil, err
	}
	if err := waitFor(ctx, remoteName, readyLimit, []*process{api}, remote.apiReady); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	c.progress("%s is ready", remoteName)
	return remote, nil
}
