package main

import (
	"flag"

	"github.com/sluice-delivery/sluice/providers/factory"
)

// consulFlags are those of the provider consul. What is not set comes from Consul's
// standard environment.
func consulFlags(f *flag.FlagSet, c *factory.Consul) {
	f.StringVar(&c.Address, "consul-address", "", "host:port or URL of Consul; without it $CONSUL_HTTP_ADDR, else 127.0.0.1:8500")
	f.StringVar(&c.Datacenter, "consul-datacenter", "", "datacenter of Consul that services are in; without it that of the server")
	f.StringVar(&c.Partition, "consul-partition", "", "admin partition of Consul that services are in; without it $CONSUL_PARTITION")
	f.StringVar(&c.Namespace, "consul-namespace", "", "namespace of Consul that services are in; without it $CONSUL_NAMESPACE")
	f.StringVar(&c.TokenFile, "consul-token-file", "", "file with the ACL token for Consul, read again when it changes; without it $CONSUL_HTTP_TOKEN_FILE, else $CONSUL_HTTP_TOKEN")
	f.StringVar(&c.CAFile, "consul-ca-file", "", "file with the CA of Consul's certificate, read again when it changes; without it $CONSUL_CACERT")
	f.StringVar(&c.CertFile, "consul-cert-file", "", "file with the client's certificate for Consul, read again when it changes; without it $CONSUL_CLIENT_CERT")
	f.StringVar(&c.KeyFile, "consul-key-file", "", "file with the key of that certificate; without it $CONSUL_CLIENT_KEY")
}
