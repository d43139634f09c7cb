package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// metadataOnly asks for no more of a written object than its metadata, in the
// form that is cheapest to read.
const metadataOnly = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1," +
	"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

// newClient makes the client of the operator. It is that of controller-runtime,
// but Apply and the update of a subresource set no more than the resource version of
// what they were given: encoding whole objects as answers that nobody reads was a tenth
// of what a release cost, here and in the API server.
func newClient(config *rest.Config, o client.Options) (client.WithWatch, error) {
	if o.HTTPClient == nil {
		h, err := rest.HTTPClientFor(config)
		if err != nil {
			return nil, fmt.Errorf("HTTP client: %w", err)
		}
		o.HTTPClient = h
	}
	full, err := client.NewWithWatch(config, o)
	if err != nil {
		return nil, err
	}
	lean := metadata.ConfigFor(config)
	lean.GroupVersion = &schema.GroupVersion{} // the path of each request is given in full
	writes, err := rest.RESTClientForConfigAndClient(lean, o.HTTPClient)
	if err != nil {
		return nil, fmt.Errorf("client of writes: %w", err)
	}
	return &leanClient{WithWatch: full, writes: writes}, nil
}

type leanClient struct {
	client.WithWatch
	writes rest.Interface
	// resources are the plural names of kinds.
	resources sync.Map // schema.GroupVersionKind -> string
}

// Apply implements client.Client.
func (c *leanClient) Apply(ctx context.Context, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	o, ok := intent.(client.Object)
	if !ok {
		return c.WithWatch.Apply(ctx, intent, opts...)
	}
	path, err := c.path(o, o.GetObjectKind().GroupVersionKind())
	if err != nil {
		return err
	}
	var content any = intent
	if u, ok := intent.(runtime.Unstructured); ok {
		content = u.UnstructuredContent() // which its own encoding would have checked once more
	}
	body, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	options := (&client.ApplyOptions{}).ApplyOptions(opts).AsPatchOptions()
	return send(ctx, c.writes.Patch(types.ApplyPatchType).VersionedParams(options, metav1.ParameterCodec).AbsPath(path...).Body(body), o)
}

// Status implements client.Client.
func (c *leanClient) Status() client.SubResourceWriter { return c.SubResource("status") }

// SubResource implements client.Client.
func (c *leanClient) SubResource(name string) client.SubResourceClient {
	return &leanSubresource{SubResourceClient: c.WithWatch.SubResource(name), client: c, name: name}
}

type leanSubresource struct {
	client.SubResourceClient
	client *leanClient
	name   string
}

// Update implements client.SubResourceWriter.
func (s *leanSubresource) Update(ctx context.Context, o client.Object, opts ...client.SubResourceUpdateOption) error {
	options := (&client.SubResourceUpdateOptions{}).ApplyOptions(opts)
	if options.SubResourceBody != nil {
		return s.SubResourceClient.Update(ctx, o, opts...)
	}
	gvk, err := s.client.GroupVersionKindFor(o)
	if err != nil {
		return err
	}
	o.GetObjectKind().SetGroupVersionKind(gvk) // what comes from a cache does not say it
	path, err := s.client.path(o, gvk)
	if err != nil {
		return err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	request := s.client.writes.Put().VersionedParams(options.AsUpdateOptions(), metav1.ParameterCodec).
		AbsPath(append(path, s.name)...).SetHeader("Content-Type", runtime.ContentTypeJSON).Body(body)
	return send(ctx, request, o)
}

// send sends a write of o and notes the version that it got.
func send(ctx context.Context, request *rest.Request, o client.Object) error {
	var written metav1.PartialObjectMetadata
	if err := request.SetHeader("Accept", metadataOnly).Do(ctx).Into(&written); err != nil {
		return err
	}
	o.SetUID(written.UID)
	o.SetResourceVersion(written.ResourceVersion)
	return nil
}

// path is where the API server has a namespaced object.
func (c *leanClient) path(o client.Object, gvk schema.GroupVersionKind) ([]string, error) {
	resource, known := c.resources.Load(gvk)
	if !known {
		mapping, err := c.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			return nil, err
		}
		resource = mapping.Resource.Resource
		c.resources.Store(gvk, resource)
	}
	root := []string{"apis", gvk.Group}
	if gvk.Group == "" {
		root = []string{"api"}
	}
	//nolint:forcetypeassert // nothing else is stored
	return append(root, gvk.Version, "namespaces", o.GetNamespace(), resource.(string), o.GetName()), nil
}
