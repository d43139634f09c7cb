package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

const nodeWorkers = 16

// nodeNames are the cluster's nodes. There are two, so that a DaemonSet which
// replaces its pods has one that serves. All other pods are on the first.
var nodeNames = []string{"node", "node-2"}

// node plays the scheduler, and the kubelets of all nodes, for all pods of the
// cluster. Volumes are not mounted, and claims need not be bound.
type node struct {
	core      typedcore.CoreV1Interface
	store     cache.Store
	queue     workqueue.TypedRateLimitingInterface[string]
	logs      string // folder of the containers' output
	podBinary string
	scripts   scriptOptions

	mu   sync.Mutex
	pods map[string]*pod // running, by namespace/name
	ips  addresses
	done bool
}

// startNode creates the Node object and begins to run pods; they run until the
// node is stopped, its watches until ctx ends.
func (c *Cluster) startNode(ctx, runCtx context.Context) error {
	config := c.configOf(nodeUser, c.config.CAData)
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	binary, err := Binary("pod")
	if err != nil {
		return err
	}
	n := &node{
		core: clients.CoreV1(), logs: c.path("logs", "pods"), podBinary: binary, pods: map[string]*pod{},
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](20*time.Millisecond, 2*time.Second)),
	}
	if err := n.serve(runCtx, clients, c.path("programs")); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := n.register(ctx); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	c.node = n
	enqueue := func(obj any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
			n.queue.Add(key)
		}
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(n.core.RESTClient(), "pods", metav1.NamespaceAll, fields.Everything()),
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    enqueue,
			UpdateFunc: func(_, obj any) { enqueue(obj) },
			DeleteFunc: enqueue,
		},
	})
	n.store = store
	go informer.RunWithContext(runCtx)
	context.AfterFunc(runCtx, n.queue.ShutDown)
	for range nodeWorkers {
		go n.work(runCtx)
	}
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("node: list pods: %w", context.Cause(ctx))
	}
	c.progress("the node is ready")
	return nil
}

// serve starts what the API server and the scripts of containers call, until ctx ends.
func (n *node) serve(ctx context.Context, clients kubernetes.Interface, programs string) error {
	if err := n.serveKubelet(ctx); err != nil {
		return err
	}
	s, err := serveServices(ctx, clients)
	if err != nil {
		return err
	}
	n.scripts = scriptOptions{proxy: s.address, programs: programs}
	return writePrograms(programs, n.podBinary)
}

func (n *node) register(ctx context.Context) error {
	for _, name := range nodeNames {
		if err := n.registerAs(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (n *node) registerAs(ctx context.Context, name string) error {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("64"),
		corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods:   resource.MustParse("10000"),
	}
	object, err := n.core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: nodeLabels(name),
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	// The API server taints a new node as not ready, which DaemonSets go by.
	object.Spec.Taints = nil
	if object, err = n.core.Nodes().Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		return err
	}
	now := metav1.Now()
	object.Status = corev1.NodeStatus{
		Capacity: capacity, Allocatable: capacity,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: hostIP}, {Type: corev1.NodeHostName, Address: name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: kubeletPort}},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
			Message: "the embedded node runs pods", LastHeartbeatTime: now, LastTransitionTime: now,
		}},
	}
	_, err = n.core.Nodes().UpdateStatus(ctx, object, metav1.UpdateOptions{})
	return err
}

func nodeLabels(name string) map[string]string {
	return map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux"}
}

// schedule gives the node that a pod goes to: the first that it allows by its
// node selector and by the name in its node affinity, as DaemonSets set it;
// empty when there is none.
func schedule(object *corev1.Pod) string {
	for _, name := range nodeNames {
		if isSubset(object.Spec.NodeSelector, nodeLabels(name)) && allowsNode(object.Spec.Affinity, name) {
			return name
		}
	}
	return ""
}

// nodeOf is the node of a pod that runs, also while its object does not show it
// yet.
func nodeOf(object *corev1.Pod) string {
	if object.Spec.NodeName != "" {
		return object.Spec.NodeName
	}
	return schedule(object)
}

func isSubset(of, all map[string]string) bool {
	for k, v := range of {
		if all[k] != v {
			return false
		}
	}
	return true
}

func allowsNode(a *corev1.Affinity, name string) bool {
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return true
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		allowed := true
		for _, field := range term.MatchFields {
			allowed = allowed && field.Key == metav1.ObjectNameField && slices.Contains(field.Values, name)
		}
		if allowed {
			return true
		}
	}
	return false
}

func (n *node) work(ctx context.Context) {
	for {
		key, shutdown := n.queue.Get()
		if shutdown {
			return
		}
		if err := n.sync(ctx, key); err != nil {
			n.queue.AddRateLimited(key)
		} else {
			n.queue.Forget(key)
		}
		n.queue.Done(key)
	}
}

// sync brings what runs for a pod in line with its object, and the object's
// status in line with what runs. The queue never runs it twice for one key at
// the same time.
func (n *node) sync(ctx context.Context, key string) error {
	obj, exists, err := n.store.GetByKey(key)
	if err != nil {
		return err
	}
	object, _ := obj.(*corev1.Pod)
	current := n.running(key)
	if current != nil && (!exists || object.UID != current.uid) {
		// Deleted by force, perhaps created again: no grace for what still runs.
		current.stop(0)
		if !current.gone() {
			return nil // its end brings the key back
		}
		n.release(key)
		current = nil
	}
	switch {
	case !exists, object.Spec.NodeName != "" && !slices.Contains(nodeNames, object.Spec.NodeName):
		return nil
	case object.DeletionTimestamp != nil:
		return n.remove(ctx, key, object, current)
	case object.Status.Phase == corev1.PodSucceeded, object.Status.Phase == corev1.PodFailed:
		return nil
	}
	if current == nil {
		if current, err = n.begin(ctx, key, object); err != nil || current == nil {
			return err
		}
	}
	return n.report(ctx, object, current)
}

// begin binds a pod to its node and starts it. It returns nil for a pod that
// has gone meanwhile, or that no node is for.
func (n *node) begin(ctx context.Context, key string, object *corev1.Pod) (*pod, error) {
	if object.Spec.NodeName == "" {
		to := schedule(object)
		if to == "" {
			return nil, nil // it stays Pending
		}
		binding := &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: object.Namespace, Name: object.Name, UID: object.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: to},
		}
		err := n.core.Pods(object.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil && !apierrors.IsConflict(err) { // conflict: bound before, the cache is behind
			return nil, err
		}
	}
	object, err := n.withConfigs(ctx, object)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done {
		return nil, nil
	}
	ip, err := n.ips.take()
	if err != nil {
		return nil, err
	}
	started := newPod(ctx, object, ip, runtimeOptions{
		binary: n.podBinary, scripts: n.scripts, logs: n.logs, changed: func() { n.queue.Add(key) },
	})
	n.pods[key] = started
	return started, nil
}

// remove ends a deleted pod within its grace period and then takes its object away.
func (n *node) remove(ctx context.Context, key string, object *corev1.Pod, current *pod) error {
	if current != nil {
		var grace time.Duration
		if seconds := object.DeletionGracePeriodSeconds; seconds != nil {
			grace = time.Duration(*seconds) * time.Second
		}
		current.stop(grace)
		if !current.gone() {
			return nil
		}
	}
	err := n.core.Pods(object.Namespace).Delete(ctx, object.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64),
		Preconditions:      metav1.NewUIDPreconditions(string(object.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	n.release(key)
	return nil
}

// report writes the pod's status if it differs from the object's.
func (n *node) report(ctx context.Context, object *corev1.Pod, current *pod) error {
	status := current.status(object)
	if equality.Semantic.DeepEqual(*status, object.Status) {
		return nil
	}
	patch, err := statusPatch(object, status)
	if err != nil {
		return err
	}
	_, err = n.core.Pods(object.Namespace).Patch(ctx, object.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// statusPatch says what differs, as a kubelet does: a plain merge would keep
// the reasons of conditions that have none any more.
func statusPatch(object *corev1.Pod, status *corev1.PodStatus) ([]byte, error) {
	before, err := json.Marshal(corev1.Pod{Status: object.Status})
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{UID: object.UID}, // never onto a namesake
		Status:     *status,
	})
	if err != nil {
		return nil, err
	}
	return strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
}

func (n *node) running(key string) *pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pods[key]
}

func (n *node) release(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.pods[key]; p != nil {
		n.ips.give(p.ip)
		delete(n.pods, key)
	}
}

// stop ends all pods at once and waits for the ends of their processes.
func (n *node) stop() {
	n.mu.Lock()
	n.done = true
	pods := make([]*pod, 0, len(n.pods))
	for _, p := range n.pods {
		pods = append(pods, p)
	}
	n.mu.Unlock()
	for _, p := range pods {
		p.stop(0)
	}
	for _, p := range pods {
		p.wait()
	}
}

// addresses hands out the pod network's addresses, each again only after all
// the others, so that clients do not meet a new pod at an old one's address.
type addresses struct {
	last  uint16
	taken map[string]bool
}

var errNoAddress = errors.New("the pod network has no free address")

func (a *addresses) take() (string, error) {
	if a.taken == nil {
		a.taken = map[string]bool{}
		a.last = 1<<8 - 1 // 10.244.0.x stays with the node and its servers
	}
	for range 1 << 16 {
		a.last++
		low := byte(a.last)
		ip := netip.AddrFrom4([4]byte{10, 244, byte(a.last >> 8), low}).String()
		if a.last < 1<<8 || low == 0 || low == 255 || a.taken[ip] {
			continue
		}
		a.taken[ip] = true
		return ip, nil
	}
	return "", errNoAddress
}

func (a *addresses) give(ip string) { delete(a.taken, ip) }
