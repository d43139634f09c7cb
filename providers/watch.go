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
	// About tells which Canaries an object of another name concerns; nil for none.
	About *About
	// Index has the indexer of the cache find the objects of one of the kinds by what the
	// providers look for beside names; nil for nothing. It is called once for each kind that
	// is served.
	Index func(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error
}

// About tells which Canaries an object concerns that has not the name of one of theirs: it may be for
// the same requests, so that they wait until it goes.
type About struct {
	// Services are those whose Canaries it concerns. reader is the cache of the cluster that
	// has the object.
	Services func(ctx context.Context, reader client.Reader, o client.Object) []types.NamespacedName
	// Alike tells whether two versions of an object are the same to these Canaries.
	Alike func(before, after client.Object) bool
}
