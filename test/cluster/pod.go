package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ProcessAnnotation on a pod with the value "none" keeps the node from starting
// processes for it: it is Running and Ready and does nothing, which costs nothing.
const ProcessAnnotation = "cluster.sluice.dev/process"

type runtimeOptions struct {
	binary  string
	scripts scriptOptions
	logs    string
	changed func() // called after every change of a container's state
}

// pod is a pod that runs on the node.
type pod struct {
	uid        types.UID
	ip         string
	started    metav1.Time
	containers []*container
}

// newPod starts the pod's containers. They run until they are stopped; the end
// of ctx does not end them.
func newPod(ctx context.Context, object *corev1.Pod, ip string, options runtimeOptions) *pod {
	p := &pod{uid: object.UID, ip: ip, started: metav1.Now()}
	for i := range object.Spec.Containers {
		p.containers = append(p.containers, startContainer(ctx, object, &object.Spec.Containers[i], ip, options))
	}
	return p
}

// stop asks every container to end within grace. Only a shorter grace than in
// an earlier call changes anything.
func (p *pod) stop(grace time.Duration) {
	for _, c := range p.containers {
		c.requestStop(grace)
	}
}

// gone tells whether every container of a stopped pod has ended.
func (p *pod) gone() bool {
	for _, c := range p.containers {
		select {
		case <-c.done:
		default:
			return false
		}
	}
	return true
}

func (p *pod) wait() {
	for _, c := range p.containers {
		<-c.done
	}
}

// status is what a kubelet would report now. What it does not own stays as it
// is in the object.
func (p *pod) status(object *corev1.Pod) *corev1.PodStatus {
	status := object.Status.DeepCopy()
	status.Phase = corev1.PodRunning
	status.StartTime = &p.started
	status.HostIP, status.HostIPs = hostIP, []corev1.HostIP{{IP: hostIP}}
	status.PodIP, status.PodIPs = p.ip, []corev1.PodIP{{IP: p.ip}}
	status.ObservedGeneration = object.Generation

	status.ContainerStatuses = nil
	var notReady []string
	for _, c := range p.containers {
		s := c.status()
		status.ContainerStatuses = append(status.ContainerStatuses, s)
		if !s.Ready {
			notReady = append(notReady, c.spec.Name)
		}
	}
	status.InitContainerStatuses = p.initStatuses(object)

	var reason, message string
	if len(notReady) > 0 {
		reason = "ContainersNotReady"
		message = "containers with unready status: [" + strings.Join(notReady, " ") + "]"
	}
	ready, readyReason, readyMessage := len(notReady) == 0, reason, message
	if gate := closedGate(object); ready && gate != "" {
		ready, readyReason, readyMessage = false, "ReadinessGatesNotReady", "the status of pod readiness gate \""+gate+"\" is not \"True\""
	}
	p.setCondition(status, corev1.PodReadyToStartContainers, true, "", "")
	p.setCondition(status, corev1.PodInitialized, true, "", "")
	p.setCondition(status, corev1.PodReady, ready, readyReason, readyMessage)
	p.setCondition(status, corev1.ContainersReady, len(notReady) == 0, reason, message)
	p.setCondition(status, corev1.PodScheduled, true, "", "")
	for i := range status.Conditions {
		status.Conditions[i].ObservedGeneration = object.Generation
	}
	return status
}

// initStatuses reports init containers as done: they are never run.
func (p *pod) initStatuses(object *corev1.Pod) []corev1.ContainerStatus {
	var statuses []corev1.ContainerStatus
	for _, c := range object.Spec.InitContainers {
		statuses = append(statuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ImageID: imageID(c.Image), ContainerID: containerID(object.UID, c.Name, 0), Ready: true,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				Reason: "Completed", StartedAt: p.started, FinishedAt: p.started,
			}},
		})
	}
	return statuses
}

func (p *pod) setCondition(status *corev1.PodStatus, kind corev1.PodConditionType, value bool, reason, message string) {
	wanted := corev1.PodCondition{
		Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.Now().Rfc3339Copy(),
	}
	if value {
		wanted.Status = corev1.ConditionTrue
	}
	for i, old := range status.Conditions {
		if old.Type != kind {
			continue
		}
		if old.Status == wanted.Status {
			wanted.LastTransitionTime = old.LastTransitionTime
		}
		status.Conditions[i] = wanted
		return
	}
	status.Conditions = append(status.Conditions, wanted)
}

// closedGate names a readiness gate that is not true, if there is one.
func closedGate(object *corev1.Pod) string {
	open := map[corev1.PodConditionType]bool{}
	for _, condition := range object.Status.Conditions {
		open[condition.Type] = condition.Status == corev1.ConditionTrue
	}
	for _, gate := range object.Spec.ReadinessGates {
		if !open[gate.ConditionType] {
			return string(gate.ConditionType)
		}
	}
	return ""
}

// splitImage returns an image's repository and tag; a missing tag is "latest".
func splitImage(image string) (repository, tag string) {
	image, _, _ = strings.Cut(image, "@")
	slash := strings.LastIndexByte(image, '/')
	if colon := strings.LastIndexByte(image, ':'); colon > slash {
		return image[:colon], image[colon+1:]
	}
	return image, "latest"
}

// scriptOptions are what scripts of containers need of the node.
type scriptOptions struct {
	programs string // folder with what they call
	proxy    string // address by which they reach Services
}

// program is what the node runs for a container, with what it adds to its environment; nothing for most images. Of images
// that have a shell and curl it runs scripts, by the shell of this machine.
func (o runtimeOptions) program(object *corev1.Pod, c *corev1.Container) (argv, env []string) {
	repository, _ := splitImage(c.Image)
	image := path.Base(repository)
	switch {
	case object.Annotations[ProcessAnnotation] == "none":
		return nil, nil
	case (image == "podinfo" || image == "curl") && isScript(c):
		return slices.Concat([]string{"/bin/sh"}, c.Command[1:], c.Args), []string{
			"PATH=" + o.scripts.programs + ":" + os.Getenv("PATH"), "http_proxy=http://" + object.Namespace + ":@" + o.scripts.proxy,
		}
	case image == "podinfo":
		return append([]string{o.binary}, arguments(c)...), nil
	default:
		return nil, nil
	}
}

// isScript tells whether a container runs what its manifest says, and not what its image does.
func isScript(c *corev1.Container) bool {
	return len(c.Command) > 0 && path.Base(c.Command[0]) == "sh"
}

func imageID(image string) string {
	repository, _ := splitImage(image)
	return repository + "@sha256:" + digest(image)
}

func containerID(uid types.UID, name string, restarts int32) string {
	return "containerd://" + digest(fmt.Sprintf("%s/%s/%d", uid, name, restarts))
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
