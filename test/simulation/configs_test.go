package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// What pods have mounted. Files of it follow their object in running pods, and a pod starts only once all are there.
var mounted = []id{{"ConfigMap", "settings"}, {"Secret", "keys"}}

// contentKey is the only key in them. Like an image its value says how pods are that have it.
const contentKey = "v"

// mount has the pods of a template read configs.
func mount(t *corev1.PodTemplateSpec) {
	t.Spec.Volumes = []corev1.Volume{
		{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
		{Name: "keys", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "keys"}}},
	}
}

// newConfig makes what pods have mounted.
func newConfig(of id, content string) client.Object {
	meta := metav1.ObjectMeta{Name: of.name}
	if of.kind == "Secret" {
		return &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{contentKey: []byte(content)}}
	}
	return &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{contentKey: content}}
}

// contentOf is what is in a config.
func contentOf(o client.Object) string {
	switch o := o.(type) {
	case *corev1.Secret:
		return string(o.Data[contentKey])
	case *corev1.ConfigMap:
		return o.Data[contentKey]
	default:
		return ""
	}
}

// configsOf are the configs that the pods of a template read.
func configsOf(t *corev1.PodTemplateSpec) []id {
	var out []id
	for _, v := range t.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			out = append(out, id{"ConfigMap", v.ConfigMap.Name})
		case v.Secret != nil:
			out = append(out, id{"Secret", v.Secret.SecretName})
		}
	}
	return out
}

// versionFrom names what a pod runs: an image, and the contents of its configs. One that is gone is what it was last. It is
// complete where all are there.
func (c *cluster) versionFrom(image string, configs []id) (version string, complete bool) {
	version, complete = image, true
	for _, of := range configs {
		if o := c.objects[of]; o != nil {
			c.contents[of] = contentOf(o)
		} else {
			complete = false
		}
		version += "+" + c.contents[of]
	}
	return version, complete
}

func (c *cluster) versionOf(t *corev1.PodTemplateSpec) string {
	version, _ := c.versionFrom(t.Spec.Containers[0].Image, configsOf(t))
	return version
}

// syncConfigs is the part of the kubelet that has to do with configs.
func (c *cluster) syncConfigs() {
	for _, p := range c.pods {
		if len(p.configs) == 0 {
			continue
		}
		version, complete := c.versionFrom(p.base, p.configs)
		if p.waits || !c.readAtStart {
			p.image = version
		}
		if p.waits && complete {
			p.waits, p.readyAt = false, c.readyAt(p.image, p.labels)
		}
	}
}

// flaps tells whether a pod is of an image that has it be ready and fail a moment later, again and again in its first half minute.
func (p *pod) flaps() bool {
	return strings.Contains(p.image, "flapping") && !p.ending() && time.Since(p.born) < 30*time.Second
}

func (w *world) flap() {
	now := time.Now()
	for _, p := range w.pods {
		if !p.flaps() || !p.ready(now) || now.Sub(p.readyAt) < 2*time.Second { // whoever looks has seen it ready by then
			continue
		}
		if w.rand.IntN(4) == 0 {
			w.oracle.robbed()
			w.oracle.crashes(strings.HasSuffix(p.labels["app"], "-primary"))
			p.die(now.Add(time.Duration(1+w.rand.IntN(4)) * time.Second))
		}
	}
}

// configDoings are what the adversary can do to configs and to what covers pods.
var configDoings = map[string]func(*world, *rand.Rand){
	"release a flapping one": func(w *world, _ *rand.Rand) { w.release(fmt.Sprintf("flapping-%d", w.turns+1)) },
	"edit a config": func(w *world, r *rand.Rand) {
		w.configure(mounted[r.IntN(len(mounted))], pick(r, "good", "good", "bad", "never")+fmt.Sprintf("-%d", w.turns+1))
	},
	"set a config back": func(w *world, r *rand.Rand) { w.configure(mounted[r.IntN(len(mounted))], "good-0") },
	"edit a config and the image": func(w *world, r *rand.Rand) {
		w.configure(mounted[r.IntN(len(mounted))], fmt.Sprintf("good-%d", w.turns+1))
		w.release(fmt.Sprintf("good-%d", w.turns+1))
	},
	"replace a config": func(w *world, r *rand.Rand) {
		of := mounted[r.IntN(len(mounted))]
		if o := w.objects[of]; o != nil {
			again := newConfig(of, pick(r, contentOf(o), contentOf(o), fmt.Sprintf("good-%d", w.turns+1)))
			w.drop(of)
			w.later(until(r), "the config is there again", func() { w.make(again) })
		}
	},
	"delete a config": func(w *world, r *rand.Rand) {
		if of := mounted[r.IntN(len(mounted))]; w.objects[of] != nil {
			w.drop(of)
		}
	},
	"edit the primary's copy": func(w *world, r *rand.Rand) {
		if of := w.copyOf(r); w.objects[of] != nil {
			w.put(of, withContent(w.objects[of], "bad-by-hand"))
		}
	},
	"delete the primary's copy": func(w *world, r *rand.Rand) {
		if of := w.copyOf(r); w.objects[of] != nil {
			w.drop(of)
		}
	},
	"writes of configs are refused": func(w *world, r *rand.Rand) {
		w.refusals[pick(r, "ConfigMap", "Secret")] = until(r)
	},
	"writes of budgets are refused": func(w *world, _ *rand.Rand) {
		w.refusals["PodDisruptionBudget"] = time.Now().Add(10 * time.Minute)
	},
	"change the budget": func(w *world, r *rand.Rand) {
		edit(w.store, "PodDisruptionBudget", "podinfo", func(b *policyv1.PodDisruptionBudget) {
			b.Spec.MaxUnavailable = new(intstr.FromInt32(1 + r.Int32N(3)))
		})
	},
	"delete the primary's budget": func(w *world, _ *rand.Rand) {
		if of := (id{"PodDisruptionBudget", "podinfo-primary"}); w.objects[of] != nil {
			w.drop(of)
		}
	},
	"another budget": func(w *world, _ *rand.Rand) { w.make(newBudget("other")) },
}

// copyOf names a config that the primary reads.
func (w *world) copyOf(r *rand.Rand) id {
	d := w.deployment("podinfo-primary")
	if d == nil || len(configsOf(&d.Spec.Template)) == 0 {
		return id{}
	}
	all := configsOf(&d.Spec.Template)
	return all[r.IntN(len(all))]
}

// configure gives a config a content, as Git would.
func (w *world) configure(of id, content string) {
	o := w.objects[of]
	if o == nil || contentOf(o) == content {
		return
	}
	w.trace("%s %s is %s", of.kind, of.name, content)
	if w.targetServesAlone() {
		w.oracle.robbed() // nobody can keep its pods from reading that
	}
	w.put(of, withContent(o, content))
}

// targetServesAlone tells whether people are led to the pods of the target.
func (w *world) targetServesAlone() bool { return !w.oracle.initialized }

func withContent(o client.Object, content string) client.Object {
	next := o.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	switch next := next.(type) {
	case *corev1.Secret:
		next.Data = map[string][]byte{contentKey: []byte(content)}
	case *corev1.ConfigMap:
		next.Data = map[string]string{contentKey: content}
	}
	return next
}

// makeConfigs makes what pods have mounted, as far as it is not there.
func (w *world) makeConfigs() {
	if w.plan.Configs {
		for _, of := range mounted {
			w.make(newConfig(of, "good-0"))
		}
	}
}

// giveBackCopies sets configs of the target back to what the primary's copies of them were, where those are gone. The operator can
// heal a copy only from a source with the contents that were promoted; nobody else knows them.
func (w *world) giveBackCopies() {
	d := w.deployment("podinfo-primary")
	if d == nil {
		return
	}
	for i, of := range configsOf(&d.Spec.Template) {
		if w.objects[of] == nil {
			w.configure(mounted[i], w.contents[of])
		}
	}
}

// runs has the target's pods run a version, which is an image and perhaps the contents of configs.
func (w *world) runs(version string) {
	image, contents := splitVersion(version)
	for i, content := range contents {
		w.configure(mounted[i], content)
	}
	w.release(image)
}

// splitVersion gives what a version is made of.
func splitVersion(version string) (image string, contents []string) {
	parts := strings.Split(version, "+")
	return parts[0], parts[1:]
}

func newBudget(name string) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo"}},
		},
	}
}

// uncovered finds a primary that is made while a budget of the target's has no copy for its pods. Once it serves, nothing
// waits for that.
func (o *oracle) uncovered(primary *appsv1.Deployment) {
	c := o.w.canary()
	if c == nil || o.initialized || c.GetCoverageMode() != v1beta1.CoverageCopy || !o.w.plan.Coverage {
		return
	}
	budgets := all[*policyv1.PodDisruptionBudget](o.w.store)
	for _, b := range budgets {
		if time.Since(b.CreationTimestamp.Time) < o.window() || !selects(b.Spec.Selector.MatchLabels, map[string]string{"app": "podinfo"}) {
			continue
		}
		if !slices.ContainsFunc(budgets, func(other *policyv1.PodDisruptionBudget) bool {
			return selects(other.Spec.Selector.MatchLabels, primary.Spec.Template.Labels)
		}) {
			o.fail("the first primary is made before PodDisruptionBudget %s covers it", b.Name)
		}
	}
}

// coveredAtEnd finds a copy that is missing in a world that was left alone for long.
func (o *oracle) coveredAtEnd(c *v1beta1.Canary) {
	d, of := o.w.deployment(c.PrimaryName()), o.w.deployment("podinfo")
	if d == nil || of == nil || c.GetCoverageMode() != v1beta1.CoverageCopy || !over(c) {
		return
	}
	budgets := all[*policyv1.PodDisruptionBudget](o.w.store)
	for _, b := range budgets {
		copied := slices.ContainsFunc(budgets, func(other *policyv1.PodDisruptionBudget) bool {
			return selects(other.Spec.Selector.MatchLabels, d.Spec.Template.Labels) && *other.Spec.MaxUnavailable == *b.Spec.MaxUnavailable
		})
		if selects(b.Spec.Selector.MatchLabels, of.Spec.Template.Labels) && !copied {
			o.fail("at the end PodDisruptionBudget %s has no copy for the primary", b.Name)
		}
	}
}

// unpromoted finds, at the end, a primary that reads what it was not promoted with.
func (o *oracle) unpromoted(c *v1beta1.Canary) {
	d, of := o.w.deployment(c.PrimaryName()), o.w.deployment("podinfo")
	if d == nil || of == nil || !o.w.plan.Configs || !over(c) || c.Status.Phase == v1beta1.PhaseFailed {
		return
	}
	if is, wanted := o.w.versionOf(&d.Spec.Template), o.w.versionOf(&of.Spec.Template); is != wanted {
		o.fail("at the end, in phase %s, the primary runs %s and the target is %s", c.Status.Phase, is, wanted)
	}
}
