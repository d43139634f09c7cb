package atrest

import (
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// informer has its objects at rest, and those who use it know them as they are.
type informer struct {
	toolscache.SharedIndexInformer

	kind *kind
}

// SetTransform implements SharedInformer.
func (i *informer) SetTransform(transform toolscache.TransformFunc) error {
	return i.SharedIndexInformer.SetTransform(func(o any) (any, error) {
		if _, ok := o.(*stored); ok {
			return o, nil // it comes again when a list has been read
		}
		if transform != nil {
			var err error
			if o, err = transform(o); err != nil {
				return o, err
			}
		}
		return i.kind.pack(o), nil
	})
}

// AddIndexers implements SharedIndexInformer.
func (i *informer) AddIndexers(indexers toolscache.Indexers) error {
	return i.SharedIndexInformer.AddIndexers(i.kind.index(indexers))
}

// GetIndexer implements SharedIndexInformer.
func (i *informer) GetIndexer() toolscache.Indexer {
	return view{i.SharedIndexInformer.GetIndexer(), i.kind}
}

// GetStore implements SharedInformer.
func (i *informer) GetStore() toolscache.Store { return i.GetIndexer() }

// AddEventHandler implements SharedInformer.
func (i *informer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandler(handler{h, i.kind})
}

// AddEventHandlerWithResyncPeriod implements SharedInformer.
func (i *informer) AddEventHandlerWithResyncPeriod(h toolscache.ResourceEventHandler, resync time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(handler{h, i.kind}, resync)
}

// AddEventHandlerWithOptions implements SharedInformer.
func (i *informer) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, options toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithOptions(handler{h, i.kind}, options)
}

// handler hands events on.
type handler struct {
	to   toolscache.ResourceEventHandler
	kind *kind
}

// OnAdd implements ResourceEventHandler.
func (h handler) OnAdd(o any, initial bool) {
	if o, ok := h.read(o); ok {
		h.to.OnAdd(o, initial)
	}
}

// OnUpdate implements ResourceEventHandler.
func (h handler) OnUpdate(before, o any) {
	before, ok := h.read(before)
	if !ok {
		return
	}
	if o, ok := h.read(o); ok {
		h.to.OnUpdate(before, o)
	}
}

// OnDelete implements ResourceEventHandler.
func (h handler) OnDelete(o any) {
	if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		last, ok := h.read(gone.Obj)
		if !ok {
			return
		}
		gone.Obj = last
		h.to.OnDelete(gone)
		return
	}
	if o, ok := h.read(o); ok {
		h.to.OnDelete(o)
	}
}

func (h handler) read(o any) (any, bool) {
	o, err := h.kind.unpack(o)
	if err != nil {
		klog.Background().Error(err, "Handing on an event")
	}
	return o, err == nil
}
