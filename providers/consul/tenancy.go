package consul

import (
	"regexp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/internal/consulspec"
)

// scopeName is what a namespace or a partition of Consul may be called.
var scopeName = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9_]{0,62}[a-zA-Z0-9])?$`)

// mayBeIn tells why a Canary can't have its services where its annotations say.
func (r *Router) mayBeIn(c *v1beta1.Canary) error {
	for _, of := range []struct{ annotation, base, own string }{
		{NamespaceAnnotation, r.base.Namespace, c.Namespace}, {PartitionAnnotation, r.base.Partition, ""},
	} {
		field := "metadata.annotations[" + of.annotation + "]"
		switch said := c.Annotations[of.annotation]; {
		case said == "":
		case !scopeName.MatchString(said):
			return consulspec.Invalid(field, said, "a name of up to 64 letters, digits, - and _")
		case r.apart && said != of.base && said != of.own:
			return consulspec.Invalid(field, said, "with -no-cross-namespace-refs that of the operator's flags, or the namespace that is called as the Canary's; leave it out")
		}
	}
	return nil
}
