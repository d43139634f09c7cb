package providers

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Watch are kinds by which some providers move traffic. An object of one has the name of
// the Canary's apex, primary or canary Service, or of its Ingress, perhaps with a dot and more after it.
type Watch struct {
	// Providers are the names of the providers.
	Providers []string
	// Kinds has an empty object of each kind. Of several versions of one kind the first that
	// is served is enough.
	Kinds [][]client.Object
	// Always has the kinds watched wherever they are served, not only where a Canary has one
	// of the providers.
	Always bool
	// About gives the Services that an object of another name is about, which concerns their
	// Canaries too; nil for none.
	About func(client.Object) []types.NamespacedName
	// Index has the indexer of the cache find the objects of one of the kinds by what the
	// providers look for beside names; nil for nothing. It is called once for each kind that
	// is served.
	Index func(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error
}
