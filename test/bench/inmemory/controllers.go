package inmemory

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// controllerName is whose the fields are that controllers write.
const controllerName = "kube-controller-manager"

// controllers have Deployments be rolled out, without pods, and Services have endpoints.
type controllers struct {
	server *Server

	mu        sync.Mutex
	more      chan struct{}
	todo      []name // Deployments that have changed, and Services
	waiting   map[name]bool
	workloads map[string]map[string]*workload // by namespace and name
	services  map[string]map[string]*service
}

// workload is as much of a Deployment as is looked at.
type workload struct {
	uid                          string
	generation, replicas, rolled int64
	labels                       map[string]any // of its pods
	pods                         []pod
}

type pod struct{ name, uid, address string }

// service is as much of a Service as is looked at.
type service struct {
	uid              string
	selector, labels map[string]any
	ports            []any
	slice            string // its EndpointSlice
	served           string // what that says
}

func newControllers(s *Server) *controllers {
	return &controllers{
		server: s, more: make(chan struct{}, 1), waiting: map[name]bool{},
		workloads: map[string]map[string]*workload{}, services: map[string]map[string]*service{},
	}
}

func number(of fields, key string) int64 {
	n, _ := of[key].(int64)
	return n
}

// wrote tells of an object that was stored.
func (c *controllers) wrote(resource string, of name, is fields) {
	if resource != "deployments" && resource != "services" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	meta, spec := sub(is, "metadata"), sub(is, "spec")
	if resource == "services" {
		inside(c.services, of.namespace)
		s := c.services[of.namespace][of.name]
		if s == nil {
			s = &service{}
			c.services[of.namespace][of.name] = s
		}
		if s.slice == "" {
			s.slice = of.name + "-" + uuid.NewString()[:5]
		}
		s.uid = text(meta, "uid")
		s.selector, _ = spec["selector"].(fields)
		s.labels, _ = meta["labels"].(fields)
		s.ports, _ = spec["ports"].([]any)
		c.add(of)
		return
	}
	inside(c.workloads, of.namespace)
	w := c.workloads[of.namespace][of.name]
	if w == nil {
		w = &workload{}
		c.workloads[of.namespace][of.name] = w
	}
	if w.uid == text(meta, "uid") && w.generation == number(meta, "generation") {
		return
	}
	w.uid, w.generation, w.replicas = text(meta, "uid"), number(meta, "generation"), number(spec, "replicas")
	w.labels, _ = sub(spec, "template", "metadata")["labels"].(fields)
	c.add(of)
}

func inside[T any](all map[string]map[string]T, namespace string) {
	if all[namespace] == nil {
		all[namespace] = map[string]T{}
	}
}

// deleted tells of an object that is gone.
func (c *controllers) deleted(resource string, of name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch resource {
	case "deployments":
		delete(c.workloads[of.namespace], of.name)
	case "services":
		delete(c.services[of.namespace], of.name)
	default:
		return
	}
	c.add(of)
}

// add has the objects of a name looked at. It is called with the lock.
func (c *controllers) add(of name) {
	if c.waiting[of] {
		return
	}
	c.waiting[of] = true
	c.todo = append(c.todo, of)
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *controllers) run(ctx context.Context) {
	for {
		select {
		case <-c.more:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		todo := c.todo
		c.todo = nil
		clear(c.waiting)
		c.mu.Unlock()
		for _, of := range todo {
			c.roll(of)
		}
	}
}

// roll has the pods of a Deployment be what it wants, and the Services that lead to them know of it.
func (c *controllers) roll(of name) {
	c.mu.Lock()
	w := c.workloads[of.namespace][of.name]
	var begun, ended fields
	if w != nil && w.rolled != w.generation {
		w.rolled = w.generation
		begun, ended = w.status(0), w.status(w.replicas)
		w.pods = make([]pod, w.replicas)
		for i := range w.pods {
			w.pods[i] = newPod(of)
		}
	}
	c.mu.Unlock()
	for _, status := range []fields{begun, ended} {
		if status != nil {
			c.set("apps/deployments", of, "status", fields{"status": status})
		}
	}
	for _, s := range c.leading(of) {
		c.endpoints(name{of.namespace, s})
	}
}

func newPod(of name) pod {
	id := newUID()
	end := id[len(id)-5:]
	return pod{of.name + "-6b886c7649-" + end, id, fmt.Sprintf("10.%d.%d.%d", 128+end[0]%100, end[1], end[2])}
}

// read tells of an object that was there before the server.
func (c *controllers) read(resource string, of name, is fields) {
	c.wrote(resource, of, is)
	c.mu.Lock()
	defer c.mu.Unlock()
	if resource == "deployments" {
		w := c.workloads[of.namespace][of.name]
		w.rolled, w.pods = w.generation, make([]pod, w.replicas)
		for i := range w.pods {
			w.pods[i] = newPod(of)
		}
	}
	if resource == "endpointslices" {
		to := text(sub(is, "metadata", "labels"), "kubernetes.io/service-name")
		inside(c.services, of.namespace)
		if c.services[of.namespace][to] == nil {
			c.services[of.namespace][to] = &service{}
		}
		c.services[of.namespace][to].slice = of.name
	}
	delete(c.waiting, of)
	c.todo = nil
}

// status is that of a Deployment of whose pods so many are ready.
func (w *workload) status(ready int64) fields {
	now := time.Now().UTC().Format(time.RFC3339)
	condition := func(kind, reason, message string) fields {
		return fields{"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now, "lastUpdateTime": now}
	}
	out := fields{
		"observedGeneration": w.generation, "replicas": w.replicas, "updatedReplicas": w.replicas, "readyReplicas": ready, "availableReplicas": ready,
		"unavailableReplicas": w.replicas - ready, "terminatingReplicas": int64(0),
		"conditions": []any{
			condition("Available", "MinimumReplicasAvailable", "Deployment has minimum availability."),
			condition("Progressing", "NewReplicaSetAvailable", `ReplicaSet "app-00000-primary-6b886c7649" has successfully progressed.`),
		},
	}
	maps.DeleteFunc(out, func(k string, v any) bool { return v == int64(0) && k != "terminatingReplicas" })
	return out
}

// leading are the Services whose endpoints may be others when something of a name has changed.
func (c *controllers) leading(of name) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workloads[of.namespace][of.name]
	for n, s := range c.services[of.namespace] {
		if n == of.name || w != nil && s.leads(w) {
			out = append(out, n)
		}
	}
	return out
}

func (s *service) leads(w *workload) bool {
	for k, v := range s.selector {
		if w.labels[k] != v {
			return false
		}
	}
	return len(s.selector) > 0
}

// endpoints has the EndpointSlice of a Service be what it leads to.
func (c *controllers) endpoints(of name) {
	c.mu.Lock()
	s := c.services[of.namespace][of.name]
	if s == nil || len(s.selector) == 0 {
		c.mu.Unlock()
		return
	}
	var pods []pod
	for _, w := range c.workloads[of.namespace] {
		if s.leads(w) {
			pods = append(pods, w.pods...)
		}
	}
	slices.SortFunc(pods, func(a, b pod) int { return cmp.Compare(a.name, b.name) })
	served := fmt.Sprint(s.labels, s.ports, pods)
	slice, unchanged := s.object(of, pods), served == s.served
	s.served = served
	c.mu.Unlock()
	if !unchanged {
		c.set("discovery.k8s.io/endpointslices", name{of.namespace, s.slice}, "", slice)
	}
}

func (s *service) object(of name, pods []pod) fields {
	labels := maps.Clone(orEmpty(s.labels))
	labels["endpointslice.kubernetes.io/managed-by"], labels["kubernetes.io/service-name"] = "endpointslice-controller.k8s.io", of.name
	endpoints := make([]any, len(pods))
	for i, p := range pods {
		endpoints[i] = fields{
			"addresses": []any{p.address}, "conditions": fields{"ready": true, "serving": true, "terminating": false}, "nodeName": "node",
			"targetRef": fields{"kind": "Pod", "name": p.name, "namespace": of.namespace, "uid": p.uid},
		}
	}
	ports := []any{}
	for _, p := range s.ports {
		if p, ok := p.(fields); ok {
			ports = append(ports, fields{"name": p["name"], "port": p["targetPort"], "protocol": p["protocol"]})
		}
	}
	return fields{
		"metadata": fields{
			"name": s.slice, "namespace": of.namespace, "generateName": of.name + "-", "labels": labels,
			"annotations": fields{"endpoints.kubernetes.io/last-change-trigger-time": time.Now().UTC().Format(time.RFC3339)},
			"ownerReferences": []any{fields{
				"apiVersion": "v1", "kind": "Service", "name": of.name, "uid": s.uid, "controller": true, "blockOwnerDeletion": true,
			}},
		},
		"addressType": "IPv4", "endpoints": endpoints, "ports": ports,
	}
}

// set writes what a controller has found. What is gone by now is gone.
func (c *controllers) set(collection string, of name, subresource string, is fields) {
	raw, err := json.Marshal(is)
	if err != nil {
		return
	}
	in, i := c.server.collections[collection], intent{of: of, by: controllerName, subresource: subresource, body: raw}
	if subresource == "" {
		if _, err := c.server.create(in, i); err == nil {
			return
		}
	}
	_, _ = c.server.update(in, i)
}
