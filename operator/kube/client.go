package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// metadataOnly asks for the metadata of what was written and not for the whole object, which is
// several times as much, and JSON where it is a custom resource.
const metadataOnly = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1," +
	"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// briefClient is a client whose frequent writes are answered with metadata alone, and which unpacks what Pack has packed.
type briefClient struct {
	client.WithWatch

	requests *rest.RESTClient
	kinds    sync.Map // *meta.RESTMapping by schema.GroupVersionKind
	unpacker *unpacker
}

// NewClient is client.NewWithWatch, but that Apply and the Update of a status change only the
// metadata of the object that they are given. Nobody reads the rest, which the informer caches
// show a moment later. Get unpacks what Pack has packed in them; List leaves it packed.
func NewClient(config *rest.Config, o client.Options) (client.WithWatch, error) {
	c, err := client.NewWithWatch(config, o)
	if err != nil {
		return nil, err
	}
	httpClient := o.HTTPClient
	if httpClient == nil {
		if httpClient, err = rest.HTTPClientFor(config); err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
	}
	config = metadata.ConfigFor(config)
	config.GroupVersion, config.APIPath = &schema.GroupVersion{}, "/" // each request has a path of its own
	b := &briefClient{WithWatch: c, unpacker: newUnpacker()}
	if b.requests, err = rest.RESTClientForConfigAndClient(config, httpClient); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return b, nil
}

// Apply implements client.Client.
func (c *briefClient) Apply(ctx context.Context, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	u, ok := intent.(interface {
		client.Object
		UnstructuredContent() map[string]any
	})
	if !ok {
		return c.WithWatch.Apply(ctx, intent, opts...)
	}
	raw, err := json.Marshal(u.UnstructuredContent())
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	path, err := c.path(u.GetObjectKind().GroupVersionKind(), u)
	if err != nil {
		return err
	}
	options := &client.ApplyOptions{}
	options.ApplyOptions(opts)
	request := c.requests.Patch(types.ApplyYAMLPatchType).AbsPath(path...).Body(raw)
	return send(ctx, request, options.AsPatchOptions(), u)
}

// Status implements client.Client.
func (c *briefClient) Status() client.SubResourceWriter {
	return briefStatus{c.WithWatch.Status(), c}
}

// briefStatus writes statuses.
type briefStatus struct {
	client.SubResourceWriter

	client *briefClient
}

// Update implements client.SubResourceWriter.
func (s briefStatus) Update(ctx context.Context, o client.Object, opts ...client.SubResourceUpdateOption) error {
	if len(opts) > 0 {
		return s.SubResourceWriter.Update(ctx, o, opts...)
	}
	gvk, err := s.client.GroupVersionKindFor(o)
	if err != nil {
		return err
	}
	path, err := s.client.path(gvk, o)
	if err != nil {
		return err
	}
	had := o.GetObjectKind().GroupVersionKind()
	o.GetObjectKind().SetGroupVersionKind(gvk) // those that were read have none
	raw, err := json.Marshal(o)
	o.GetObjectKind().SetGroupVersionKind(had)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	request := s.client.requests.Put().AbsPath(append(path, "status")...).SetHeader("Content-Type", runtime.ContentTypeJSON).Body(raw)
	return send(ctx, request, &metav1.UpdateOptions{}, o)
}

// path is that of an object in the API.
func (c *briefClient) path(gvk schema.GroupVersionKind, o client.Object) ([]string, error) {
	if o.GetName() == "" {
		return nil, errors.New("an object without a name can't be written")
	}
	mapping, err := c.mapping(gvk)
	if err != nil {
		return nil, err
	}
	path := make([]string, 0, 8) // with room for a subresource
	if gvk.Group == "" {
		path = append(path, "api", gvk.Version)
	} else {
		path = append(path, "apis", gvk.Group, gvk.Version)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		path = append(path, "namespaces", o.GetNamespace())
	}
	return append(path, mapping.Resource.Resource, o.GetName()), nil
}

// mapping tells how a kind is served, which stays so.
func (c *briefClient) mapping(gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	if known, ok := c.kinds.Load(gvk); ok {
		return known.(*meta.RESTMapping), nil //nolint:forcetypeassert // there is nothing else in it
	}
	mapping, err := c.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	c.kinds.Store(gvk, mapping)
	return mapping, nil
}

// send sends a write and gives o the metadata that it has then.
func send(ctx context.Context, request *rest.Request, options runtime.Object, o client.Object) error {
	answer, err := request.SetHeader("Accept", metadataOnly).
		SpecificallyVersionedParams(options, scheme.ParameterCodec, schema.GroupVersion{Version: "v1"}).
		Do(ctx).Get()
	if err != nil {
		return err
	}
	written, ok := answer.(*metav1.PartialObjectMetadata)
	if !ok {
		return fmt.Errorf("the API server answers with %T where metadata are asked for", answer)
	}
	o.SetUID(written.UID)
	o.SetResourceVersion(written.ResourceVersion)
	o.SetGeneration(written.Generation)
	o.SetLabels(written.Labels)
	o.SetAnnotations(written.Annotations)
	o.SetOwnerReferences(written.OwnerReferences)
	o.SetFinalizers(written.Finalizers)
	o.SetDeletionTimestamp(written.DeletionTimestamp)
	return nil
}
