// Package fleettest makes releases of every kind, as many as are asked for, for tests of what shows them.
package fleettest

import (
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// Revisions of all releases.
const (
	OldRevision = "s2-5f0c7a9e31bd"
	NewRevision = "s2-b81e64d2c07f"
)

// Weights are those of the steps of a Canary.
func Weights() []int32 { return []int32{5, 10, 20, 35, 50} }

// Canary is a Canary at rest.
func Canary(namespace, name string, now time.Time) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Generation: 2, ResourceVersion: "1", UID: types.UID(namespace + "/" + name),
			CreationTimestamp: metav1.NewTime(now.Add(-90 * 24 * time.Hour)), Labels: map[string]string{"team": namespace}},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			Service:   v1beta1.CanaryService{Port: 8080},
			Analysis: &v1beta1.CanaryAnalysis{Interval: "1m", Threshold: 5, StepWeights: Weights(), Webhooks: []v1beta1.CanaryWebhook{
				{Name: "on call", Type: v1beta1.ConfirmPromotionHook, URL: "http://gate.platform/open"},
			}},
		},
		Status: v1beta1.CanaryStatus{
			Phase: v1beta1.PhaseSucceeded, ObservedGeneration: 2, LastAppliedSpec: OldRevision, LastPromotedSpec: OldRevision,
			LastTransitionTime: metav1.NewTime(now.Add(-26 * time.Hour)), Identity: &v1beta1.IdentityStatus{TargetKind: "Deployment", TargetName: name, Apex: name, Provider: "istio"},
		},
	}
	message := name + "-primary serves all traffic"
	set(c, now, v1beta1.ConditionPromoted, corev1.ConditionTrue, "Succeeded", message)
	set(c, now, v1beta1.ConditionReady, corev1.ConditionTrue, "Succeeded", message)
	return c
}

func set(c *v1beta1.Canary, now time.Time, kind v1beta1.CanaryConditionType, status corev1.ConditionStatus, reason, message string) {
	c.Status.SetCondition(v1beta1.CanaryCondition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: c.Generation}, now)
}

// Progress puts a Canary into a step, from 1, whose checks found these values of the success rate, the newest last.
func Progress(c *v1beta1.Canary, step int32, success float64, now time.Time) {
	st := &c.Status
	weight := Weights()[step-1]
	st.Phase, st.CanaryWeight, st.LastAppliedSpec = v1beta1.PhaseProgressing, weight, NewRevision
	started := metav1.NewMicroTime(now.Add(-time.Duration(step) * time.Minute).Truncate(time.Hour))
	if st.StartedAt == nil {
		st.StartedAt = &started
	}
	st.LastTransitionTime = metav1.NewTime(now.Add(-20 * time.Second))
	since := metav1.NewMicroTime(now.Add(-20 * time.Second))
	st.Step = &v1beta1.StepStatus{Index: step, Weight: weight, Share: v1beta1.ShareAll, Since: since, Checks: 1}
	Check(c, success, now)
	for i := int32(1); i < step && int(step) > len(st.History); i++ {
		st.History = append(st.History, v1beta1.RoundStatus{Step: i, Weight: Weights()[i-1], Verdict: v1beta1.CheckPassed, Time: metav1.NewMicroTime(now.Add(-time.Duration(step-i) * time.Minute))})
	}
	message := fmt.Sprintf("Step %d of %d: %d%% of the traffic goes to the canary", step, len(Weights()), weight)
	if st.FailedChecks > 0 {
		message += fmt.Sprintf(", %d of 5 failed checks", st.FailedChecks)
	}
	set(c, now, v1beta1.ConditionPromoted, corev1.ConditionUnknown, "Progressing", message)
	set(c, now, v1beta1.ConditionReady, corev1.ConditionUnknown, "Progressing", message)
	set(c, now, v1beta1.ConditionReconciling, corev1.ConditionTrue, "Progressing", message)
}

// Count has a share of the requests of the present step be the canary's, as they were counted.
func Count(c *v1beta1.Canary, share float64) {
	c.Status.Judgement = &v1beta1.JudgementStatus{Counted: c.Status.Step.Since, Step: c.Status.Step.Index, CanaryShare: strconv.FormatFloat(share, 'f', 1, 64)}
}

// Check gives a Canary the results of a round of checks.
func Check(c *v1beta1.Canary, success float64, now time.Time) {
	verdict, message := v1beta1.CheckPassed, ""
	if success < 99 {
		verdict, message = v1beta1.CheckFailed, fmt.Sprintf("request-success-rate is %.2f%%, below the minimum 99%%", success)
	}
	at := metav1.NewMicroTime(now)
	c.Status.Checks = []v1beta1.CheckStatus{
		{Name: "request-success-rate", Value: strconv.FormatFloat(success, 'f', 2, 64), Range: ">= 99", Window: "1m", Source: "istio", Verdict: verdict, Message: message, Failures: c.Status.FailedChecks, Time: at,
			Query: `sum(rate(istio_requests_total{reporter="destination", destination_workload="` + c.Spec.TargetRef.Name + `", response_code!~"5.*"}[1m])) / sum(rate(istio_requests_total{reporter="destination", destination_workload="` + c.Spec.TargetRef.Name + `"}[1m])) * 100`},
		{Name: "request-duration", Value: strconv.FormatFloat(180+(99.9-success)*40, 'f', 1, 64), Range: "<= 500", Window: "1m", Source: "istio", Verdict: v1beta1.CheckPassed, Time: at},
	}
}

// Fail rolls a Canary back.
func Fail(c *v1beta1.Canary, now time.Time) {
	c.Status.FailedChecks = 5
	Progress(c, 3, 97.61, now)
	st := &c.Status
	for i := range 5 {
		st.History = append(st.History, v1beta1.RoundStatus{Step: 3, Weight: 20, Verdict: v1beta1.CheckFailed, Message: st.Checks[0].Message, Time: metav1.NewMicroTime(now.Add(time.Duration(i-5) * time.Minute))})
	}
	st.Phase, st.CanaryWeight, st.Step = v1beta1.PhaseFailed, 0, nil
	message := "failed check 5 of 5: " + st.Checks[0].Message
	set(c, now, v1beta1.ConditionPromoted, corev1.ConditionFalse, "Failed", message)
	set(c, now, v1beta1.ConditionReady, corev1.ConditionFalse, "Failed", message)
	set(c, now, v1beta1.ConditionStalled, corev1.ConditionTrue, "Failed", message)
	st.RemoveCondition(v1beta1.ConditionReconciling)
}

// Wait has a Canary wait at the gate before its promotion.
func Wait(c *v1beta1.Canary, now time.Time) {
	Progress(c, 5, 99.93, now)
	c.Status.Phase = v1beta1.PhaseWaitingPromotion
	c.Status.Gate = &v1beta1.GateStatus{Type: v1beta1.ConfirmPromotionHook, Since: metav1.NewMicroTime(now.Add(-4 * time.Minute)), Hook: "on call", Message: "hook on call: 403 Forbidden: nobody has approved it"}
	set(c, now, v1beta1.ConditionReconciling, corev1.ConditionTrue, "WaitingPromotion", "Waiting for the confirm-promotion gate to open, 50% of the traffic goes to the canary: hook on call: 403 Forbidden: nobody has approved it")
}

// Pause has a person hold a Canary.
func Pause(c *v1beta1.Canary, now time.Time) {
	Progress(c, 2, 99.41, now)
	c.Status.Paused = true
	set(c, now, v1beta1.ConditionReady, corev1.ConditionUnknown, "Progressing", "Paused by alice@example.com (errors in the checkout, looking into it); the weight stays at 10%")
}

// Stall has a Canary with a mistake.
func Stall(c *v1beta1.Canary, now time.Time) {
	const message = `spec.provider: unknown provider "appmesh": known are apisix, consul, contour, gatewayapi, istio, kubernetes`
	set(c, now, v1beta1.ConditionStalled, corev1.ConditionTrue, "UnknownProvider", message)
	set(c, now, v1beta1.ConditionReady, corev1.ConditionFalse, "UnknownProvider", message)
}

var (
	namespaces = []string{"shop", "payments", "search", "platform", "identity", "warehouse", "media", "ads", "support", "analytics"}
	names      = []string{"cart", "checkout", "catalog", "pricing", "ledger", "invoices", "gateway", "sessions", "thumbnails", "recommendations", "inventory", "shipping", "reviews", "notifications", "webhooks", "indexer"}
)

// Fleet is as many Canaries as are asked for, in many namespaces; of a hundred three need a person and four are under way.
func Fleet(count int, now time.Time) []*v1beta1.Canary {
	out := make([]*v1beta1.Canary, count)
	for i := range out {
		namespace, name := namespaces[i%len(namespaces)], names[(i/len(namespaces)+i)%len(names)]
		if i >= len(namespaces) {
			name = fmt.Sprintf("%s-%d", name, i/len(namespaces))
		}
		c := Canary(namespace, name, now.Add(-time.Duration(i%97)*time.Minute))
		at := now.Add(-time.Duration(i%11) * time.Second)
		switch i % 100 {
		case 1:
			Fail(c, at)
		case 4:
			Wait(c, at)
		case 13:
			Pause(c, at)
		case 47:
			if i%300 == 47 {
				Stall(c, at)
			}
		case 0, 22, 58, 83:
			Progress(c, int32(1+i/7%5), 99.6+float64(i%4)/10, at)
			if i%100 > 0 {
				Count(c, float64(c.Status.CanaryWeight)*0.96)
			}
		}
		out[i] = c
	}
	return out
}

// Surroundings are the objects about a Canary that has pods, events and actions.
func Surroundings(c *v1beta1.Canary, now time.Time) []client.Object {
	target := c.Spec.TargetRef.Name
	event := func(i int, ago time.Duration, kind, reason, message string) client.Object {
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Namespace: c.Namespace, Name: fmt.Sprintf("%s.%d", c.Name, i)},
			InvolvedObject: corev1.ObjectReference{Kind: "Canary", Namespace: c.Namespace, Name: c.Name, UID: c.UID},
			Type:           kind, Reason: reason, Message: message, LastTimestamp: metav1.NewTime(now.Add(-ago)), Count: 1,
		}
	}
	out := []client.Object{
		event(1, 4*time.Minute, "Normal", "NewRevision", "New revision of Deployment/"+target+" ("+target+":2.14.0 -> "+target+":2.15.0); it gets traffic when it is ready"),
		event(2, 3*time.Minute, "Normal", "Started", "Step 1 of 5: 5% of the traffic goes to the canary"),
		event(3, 2*time.Minute, "Warning", "CheckFailed", "Failed check 1 of 5: request-success-rate is 98.90%, below the minimum 99%; the weight stays at 10%"),
		event(4, time.Minute, "Normal", "Step", "Step 3 of 5: 20% of the traffic goes to the canary"),
		&v1alpha1.CanaryAction{
			ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name + "-x7k2f", CreationTimestamp: metav1.NewTime(now.Add(-150 * time.Second))},
			Spec:       v1alpha1.CanaryActionSpec{Canary: c.Name, Action: v1beta1.ActionResume, RequestedBy: "bob@example.com", Reason: "it was the load test"},
			Status:     v1alpha1.CanaryActionStatus{Phase: v1alpha1.ActionDone, Message: "Resumed by bob@example.com (it was the load test)"},
		},
		&v1alpha1.CanaryAction{
			ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name + "-9qm4d", CreationTimestamp: metav1.NewTime(now.Add(-200 * time.Second))},
			Spec:       v1alpha1.CanaryActionSpec{Canary: c.Name, Action: v1beta1.ActionPause, RequestedBy: "alice@example.com", Reason: "errors in the checkout, looking into it"},
			Status:     v1alpha1.CanaryActionStatus{Phase: v1alpha1.ActionDone, Message: "Paused by alice@example.com (errors in the checkout, looking into it); the weight stays at 10%"},
		},
	}
	primary, canary := int32(6), int32(2)
	if c.Status.Step == nil {
		canary = 0
	}
	out = append(out, workloadOf(c.Namespace, c.PrimaryName(), target+":2.14.0", primary, primary)...)
	out = append(out, replicaSets(c, now)...)
	return append(out, workloadOf(c.Namespace, target, target+":2.15.0", canary, canary)...)
}

// EarlierRevision was promoted before what the primary of each Canary runs.
const EarlierRevision = "s2-03d9a1c4e77b"

// replicaSets are those in which the Deployment controller keeps what the primary of a Canary runs and has run.
func replicaSets(c *v1beta1.Canary, now time.Time) []client.Object {
	var out []client.Object
	for i, revision := range []string{EarlierRevision, OldRevision} {
		s := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
			Namespace: c.Namespace, Name: fmt.Sprintf("%s-%d", c.PrimaryName(), i), Labels: map[string]string{"app": c.PrimaryName()},
			Annotations:       map[string]string{"deployment.kubernetes.io/revision": strconv.Itoa(i + 1), workload.RevisionAnnotation: revision},
			CreationTimestamp: metav1.NewTime(now.Add(-time.Duration(9-4*i) * 24 * time.Hour)),
			OwnerReferences:   []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: c.PrimaryName(), UID: types.UID(c.PrimaryName()), Controller: new(true)}},
		}}
		s.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: fmt.Sprintf("registry.example.com/%s:2.1%d.0", c.Spec.TargetRef.Name, 3+i)}}
		out = append(out, s)
	}
	return out
}

func workloadOf(namespace, name, image string, replicas, ready int32) []client.Object {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name)}}
	d.Spec.Replicas, d.Spec.Selector = &replicas, &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels = labels
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "app", Image: "registry.example.com/" + image}}
	out := []client.Object{d}
	for i := range replicas {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-6d5f8c7b9-%d", name, i), Labels: labels}}
		status := corev1.ConditionTrue
		if i >= ready {
			status = corev1.ConditionFalse
		}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
		out = append(out, p)
	}
	return out
}

// KindOf and NameOf are the indexes that a fake client needs for events of a Canary.
func KindOf(o client.Object) []string { return []string{o.(*corev1.Event).InvolvedObject.Kind} }

// NameOf is the name of what an event is about.
func NameOf(o client.Object) []string { return []string{o.(*corev1.Event).InvolvedObject.Name} }
