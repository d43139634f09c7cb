package preflight

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Write is one that was noted.
type Write struct {
	// Kind and Name are the object's.
	Kind, Name string
	// Exists is true for an object that is there.
	Exists bool
	// Deletes is true for a deletion.
	Deletes bool
}

// notes are a client.Writer of which nothing comes but a list of what was written.
type notes struct {
	of     *View
	writes []Write
}

// Writes are those that were noted.
func (n *notes) Writes() []Write { return n.writes }

// note keeps a write.
func (n *notes) note(ctx context.Context, o client.Object, deletes bool) {
	gvk, err := n.of.GroupVersionKindFor(o)
	if err != nil {
		return
	}
	w := Write{Kind: gvk.Kind, Name: o.GetName(), Deletes: deletes}
	is := &unstructured.Unstructured{}
	is.SetGroupVersionKind(gvk)
	w.Exists = n.of.Get(ctx, client.ObjectKeyFromObject(o), is) == nil
	if !slices.Contains(n.writes, w) {
		n.writes = append(n.writes, w)
	}
}

// Create implements client.Writer.
func (n *notes) Create(ctx context.Context, o client.Object, _ ...client.CreateOption) error {
	n.note(ctx, o, false)
	return nil
}

// Delete implements client.Writer.
func (n *notes) Delete(ctx context.Context, o client.Object, _ ...client.DeleteOption) error {
	n.note(ctx, o, true)
	return nil
}

// Update implements client.Writer.
func (n *notes) Update(ctx context.Context, o client.Object, _ ...client.UpdateOption) error {
	n.note(ctx, o, false)
	return nil
}

// Patch implements client.Writer.
func (n *notes) Patch(ctx context.Context, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
	n.note(ctx, o, false)
	return nil
}

// Apply implements client.Writer.
func (n *notes) Apply(ctx context.Context, o runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
	named, ok := o.(interface {
		GetAPIVersion() string
		GetKind() string
		GetName() string
		GetNamespace() string
	})
	if !ok {
		return errors.New("apply of something without name")
	}
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(named.GetAPIVersion())
	u.SetKind(named.GetKind())
	u.SetNamespace(named.GetNamespace())
	u.SetName(named.GetName())
	n.note(ctx, u, false)
	return nil
}

// DeleteAllOf implements client.Writer.
func (n *notes) DeleteAllOf(context.Context, client.Object, ...client.DeleteAllOfOption) error {
	return errors.New("nothing is deleted")
}

// Status implements client.StatusClient.
func (n *notes) Status() client.SubResourceWriter { return nothing{} }

// SubResource implements client.SubResourceClientConstructor.
func (n *notes) SubResource(string) client.SubResourceClient { return nothing{} }

// nothing reads and writes no subresource.
type nothing struct{}

var errNoSubresource = errors.New("subresources are not looked at")

// Get implements client.SubResourceReader.
func (nothing) Get(context.Context, client.Object, client.Object, ...client.SubResourceGetOption) error {
	return errNoSubresource
}

// Create implements client.SubResourceWriter.
func (nothing) Create(context.Context, client.Object, client.Object, ...client.SubResourceCreateOption) error {
	return errNoSubresource
}

// Update implements client.SubResourceWriter.
func (nothing) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
	return errNoSubresource
}

// Patch implements client.SubResourceWriter.
func (nothing) Patch(context.Context, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
	return errNoSubresource
}

// Apply implements client.SubResourceWriter.
func (nothing) Apply(context.Context, runtime.ApplyConfiguration, ...client.SubResourceApplyOption) error {
	return errNoSubresource
}
