package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// unknown is what Istio calls a workload, app or version it cannot name.
const unknown = "unknown"

// podInfo is what Istio's metrics tell of a pod.
type podInfo struct {
	workload, kind, namespace, app, version string
}

// podIndex knows pods by address, those that are gone as well.
type podIndex struct {
	clients kubernetes.Interface
	mu      sync.RWMutex
	byIP    map[string]podInfo
}

func watchPods(ctx context.Context, kubeconfig string) (*podIndex, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	index := &podIndex{clients: clients, byIP: map[string]podInfo{}}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(clients.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, fields.Everything()),
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { index.put(obj.(*corev1.Pod)) },
			UpdateFunc: func(_, obj any) { index.put(obj.(*corev1.Pod)) },
		},
	})
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, fmt.Errorf("list pods: %w", context.Cause(ctx))
	}
	return index, nil
}

func (i *podIndex) put(pod *corev1.Pod) {
	if pod.Status.PodIP == "" || pod.DeletionTimestamp != nil {
		return // known by now, and a successor may have the address
	}
	info := podInfo{namespace: pod.Namespace, app: unknown, version: unknown}
	info.workload, info.kind = workloadOf(pod)
	if app := pod.Labels["app"]; app != "" {
		info.app = app
	}
	if version := pod.Labels["version"]; version != "" {
		info.version = version
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.byIP[pod.Status.PodIP] = info
}

// lookup asks the API server itself for an address that the watch has not
// brought yet: istiod's may be faster.
func (i *podIndex) lookup(ctx context.Context, ip string) (podInfo, bool) {
	if info, found := i.get(ip); found {
		return info, true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second) // the request is over
	defer cancel()
	pods, err := i.clients.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "status.podIP=" + ip})
	if err == nil {
		for n := range pods.Items {
			i.put(&pods.Items[n])
		}
	}
	return i.get(ip)
}

func (i *podIndex) get(ip string) (podInfo, bool) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	info, found := i.byIP[ip]
	return info, found
}

// workloadOf names the pod's workload and its kind as meshes do: a ReplicaSet that a
// Deployment made gives the Deployment.
func workloadOf(pod *corev1.Pod) (name, kind string) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return pod.Name, "Pod"
	}
	if hash := pod.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		return strings.TrimSuffix(owner.Name, "-"+hash), "Deployment"
	}
	return owner.Name, owner.Kind
}
