package simulation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// doings are what the adversary can do. Each gets random numbers of its own, so that leaving one out changes no other.
var doings = func() map[string]func(*world, *rand.Rand) {
	out := maps.Clone(clusterDoings)
	maps.Copy(out, configDoings)
	maps.Copy(out, hands)
	return out
}()

// clusterDoings are those that need nothing but a cluster and a Canary.
var clusterDoings = map[string]func(*world, *rand.Rand){
	"release": func(w *world, r *rand.Rand) {
		w.release(pick(r, "good", "good", "good", "bad", "slow", "never", "broken") + fmt.Sprintf("-%d", w.turns+1))
	},
	"release a good one": func(w *world, _ *rand.Rand) { w.release(fmt.Sprintf("good-%d", w.turns+1)) },
	"release a bad one":  func(w *world, _ *rand.Rand) { w.release(fmt.Sprintf("bad-%d", w.turns+1)) },
	"roll back in Git":   func(w *world, _ *rand.Rand) { w.runs(w.oracle.primaryImage) },
	"release and scale to zero": func(w *world, _ *rand.Rand) {
		w.oracle.robbed()
		w.edit(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Image, d.Spec.Replicas = fmt.Sprintf("app:good-%d", w.turns+1), new(int32(0))
		})
	},

	"delete the Canary": func(w *world, r *rand.Rand) {
		_ = w.remove(id{"Canary", w.key.Name}, propagation(r)) // it may be gone
	},
	"take the finalizer by hand": func(w *world, _ *rand.Rand) {
		edit(w.store, "Canary", w.key.Name, func(c *v1beta1.Canary) { c.Finalizers = nil })
	},
	"delete the Canary and take the finalizer": func(w *world, r *rand.Rand) {
		_ = w.remove(id{"Canary", w.key.Name}, propagation(r)) // it may be gone
		edit(w.store, "Canary", w.key.Name, func(c *v1beta1.Canary) {
			c.Finalizers = slices.DeleteFunc(slices.Clone(c.Finalizers), func(f string) bool { return f == v1beta1.Finalizer })
		})
	},
	"take all of the Canary away": func(w *world, _ *rand.Rand) {
		_ = w.remove(id{"Canary", w.key.Name}, metav1.DeletePropagationForeground) // it may be gone
		edit(w.store, "Canary", w.key.Name, func(c *v1beta1.Canary) { c.Finalizers = []string{metav1.FinalizerDeleteDependents} })
	},
	"delete the target with its pods": func(w *world, _ *rand.Rand) {
		w.oracle.robbed()
		w.git.target = nil
		_ = w.remove(id{"Deployment", "podinfo"}, metav1.DeletePropagationBackground) // it may be gone
	},
	"delete the primary with its pods": func(w *world, _ *rand.Rand) {
		w.oracle.robbed()
		_ = w.remove(id{"Deployment", "podinfo-primary"}, metav1.DeletePropagationBackground) // it may be gone
	},
	"delete the Canary in the foreground": func(w *world, _ *rand.Rand) {
		_ = w.remove(id{"Canary", w.key.Name}, metav1.DeletePropagationForeground) // it may be gone
	},
	"lose the status": func(w *world, _ *rand.Rand) {
		w.oracle.lostStatus = true
		for _, m := range w.meshes {
			clear(m.last) // what a route had that is gone as well is known to nobody any more
		}
		edit(w.store, "Canary", w.key.Name, func(c *v1beta1.Canary) { c.Status = v1beta1.CanaryStatus{} })
	},

	"recreate the target":                     func(w *world, r *rand.Rand) { w.recreate(r, func(*appsv1.Deployment) {}) },
	"recreate the target with one more label": func(w *world, r *rand.Rand) { w.recreate(r, func(d *appsv1.Deployment) { relabel(d, "team", "a") }) },
	"recreate the target with another label": func(w *world, r *rand.Rand) {
		w.recreate(r, func(d *appsv1.Deployment) { relabel(d, "app", "podinfo-v2") })
	},
	"delete the target": func(w *world, r *rand.Rand) {
		w.oracle.robbed()
		w.git.target = nil
		_ = w.remove(id{"Deployment", "podinfo"}, propagation(r)) // it may be gone
	},
	"delete the primary": func(w *world, r *rand.Rand) {
		w.oracle.robbed()
		_ = w.remove(id{"Deployment", "podinfo-primary"}, propagation(r)) // it may be gone
	},
	"scale the primary": func(w *world, r *rand.Rand) {
		w.oracle.robbed()
		n := r.Int32N(w.plan.Pods + 1)
		w.byHand = n
		w.fewest = min(w.fewest, max(n, 1)) // a primary that is lost is given as many again
		edit(w.store, "Deployment", "podinfo-primary", func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
	},
	"scale the target": func(w *world, r *rand.Rand) {
		n := r.Int32N(w.plan.Pods + 2)
		if n == 0 {
			w.oracle.robbed()
		}
		w.edit(func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
	},
	"another number in Git": func(w *world, r *rand.Rand) {
		w.inGit(1 + r.Int32N(2*w.plan.Pods))
		w.edit(func(d *appsv1.Deployment) { d.Spec.Replicas = new(w.git.replicas) })
	},
	"scale the target to one": func(w *world, _ *rand.Rand) { w.edit(func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(1)) }) },
	"half as many in Git": func(w *world, _ *rand.Rand) {
		w.inGit(max(w.plan.Pods/2, 1))
		w.release(fmt.Sprintf("good-%d", w.turns+1))
		w.edit(func(d *appsv1.Deployment) { d.Spec.Replicas = new(w.git.replicas) })
	},
	"one of the canary's pods is not ready": func(w *world, _ *rand.Rand) { w.crashAllBut(1, false) },
	"all pods of the canary crash":          func(w *world, _ *rand.Rand) { w.crashAllBut(0, false) },
	"no pod of the primary is left":         func(w *world, _ *rand.Rand) { w.crashAllBut(0, true) },
	"one pod of the primary is left":        func(w *world, _ *rand.Rand) { w.crashAllBut(1, true) },
	"release a broken one":                  func(w *world, _ *rand.Rand) { w.release(fmt.Sprintf("broken-%d", w.turns+1)) },
	"delete the primary's Service": func(w *world, _ *rand.Rand) {
		w.oracle.robbed()
		_ = w.remove(id{"Service", "podinfo-primary"}, metav1.DeletePropagationBackground) // it may be gone
	},
	"leave the target's pods to nobody": func(w *world, _ *rand.Rand) {
		w.oracle.robbed()
		w.git.target = nil
		_ = w.remove(id{"Deployment", "podinfo"}, metav1.DeletePropagationOrphan) // it may be gone
	},
	"release a limping one":          func(w *world, _ *rand.Rand) { w.release(fmt.Sprintf("limping-%d", w.turns+1)) },
	"writes of Services are refused": func(w *world, _ *rand.Rand) { w.refusals["Service"] = time.Now().Add(10 * time.Minute) },
	"writes of autoscalers are refused": func(w *world, _ *rand.Rand) {
		w.refusals["HorizontalPodAutoscaler"] = time.Now().Add(10 * time.Minute)
	},
	"the mesh is gone for long": func(w *world, _ *rand.Rand) { w.removeMesh(time.Now().Add(time.Hour)) },
	"Consul is away for long":   func(w *world, _ *rand.Rand) { w.meshDown = time.Now().Add(time.Hour) },
	"hooks take long":           func(w *world, _ *rand.Rand) { w.hooksSlow = time.Now().Add(5 * time.Minute) },
	"crash the canary's pods":   func(w *world, r *rand.Rand) { w.crash(r, false) },
	"crash the primary's pods":  func(w *world, r *rand.Rand) { w.crash(r, true) },
	"a node dies": func(w *world, r *rand.Rand) {
		w.oracle.robbed()
		for _, p := range w.pods {
			if r.IntN(2) == 0 {
				p.die(time.Time{})
				p.ends = time.Now()
			}
		}
	},

	"delete the MetricTemplate": func(w *world, _ *rand.Rand) {
		if w.objects[id{"MetricTemplate", "slo"}] != nil {
			w.drop(id{"MetricTemplate", "slo"})
		}
	},
	"delete the autoscaler": func(w *world, _ *rand.Rand) {
		if w.objects[id{"HorizontalPodAutoscaler", "podinfo"}] != nil {
			w.drop(id{"HorizontalPodAutoscaler", "podinfo"})
		}
	},
	"change the autoscaler": func(w *world, r *rand.Rand) {
		edit(w.store, "HorizontalPodAutoscaler", "podinfo", func(h *autoscalingv2.HorizontalPodAutoscaler) {
			h.Spec.MinReplicas, h.Spec.MaxReplicas = new(1+r.Int32N(3)), 4+r.Int32N(8)
		})
	},
	"delete a Service": func(w *world, r *rand.Rand) {
		w.oracle.robbed()
		_ = w.remove(id{"Service", pick(r, "podinfo", "podinfo-primary", "podinfo-canary")}, metav1.DeletePropagationBackground) // it may be gone
	},
	"the metrics are away": func(w *world, r *rand.Rand) { w.metricsDown = until(r) },
	"the mesh is away":     func(w *world, r *rand.Rand) { w.meshDown = until(r) },
	"the mesh is removed":  func(w *world, r *rand.Rand) { w.removeMesh(until(r)) },
	"gates are closed":     func(w *world, r *rand.Rand) { w.gatesClosed = until(r) },
	"hooks are slow":       func(w *world, r *rand.Rand) { w.hooksSlow = until(r) },
	"endpoints lag": func(w *world, r *rand.Rand) {
		w.endpointLag = until(r)
		w.oracle.lagging(slowEndpoints)
	},
	"writes are refused": func(w *world, r *rand.Rand) {
		kind := pick(r, "Service", "Deployment", "HorizontalPodAutoscaler", "Canary/status", "Canary", "CanaryAction", "Route")
		w.trace("writes of %s are refused", kind)
		w.refusals[kind] = until(r)
	},
	"a cache lags": func(w *world, r *rand.Rand) {
		kind := pick(r, "Canary", "Deployment", "Service", "EndpointSlice", "HorizontalPodAutoscaler")
		w.trace("the cache of %s lags", kind)
		by := time.Duration(1+r.IntN(30)) * time.Second
		w.cacheLags[kind] = lag{by: by, until: until(r)}
		w.oracle.lagging(by)
	},
	"the operator stops after a write": func(w *world, r *rand.Rand) {
		if w.operator != nil {
			w.operator.writesLeft = 1 + r.IntN(6)
			w.offset = time.Duration(r.IntN(20)-10) * time.Second
		}
	},
	"the operator is down": func(w *world, r *rand.Rand) {
		w.stop()
		w.operatorAt, w.offset = until(r), time.Duration(r.IntN(20)-10)*time.Second
	},

	"two operators lead": func(w *world, r *rand.Rand) {
		if w.operator == nil || w.former != nil {
			return
		}
		w.former, w.formerUntil = w.operator, time.Now().Add(time.Duration(1+r.IntN(15))*time.Second)
		behind := time.Duration(r.IntN(5)) * time.Second
		w.former.views.lag = func(kind string) time.Duration { return w.cacheLag(kind) + behind }
		w.offset = time.Duration(r.IntN(20)-10) * time.Second
		w.start(w.offset)
	},

	"suspend": func(w *world, r *rand.Rand) {
		w.spec(r, func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.Suspend = true })
	},
	"edit the spec": func(w *world, r *rand.Rand) {
		names := sortedKeys(edits)
		name := names[r.IntN(len(names))]
		w.trace("edit: %s", name)
		w.spec(r, edits[name])
	},
	"edit the weights": func(w *world, r *rand.Rand) { w.spec(r, edits["weights"]) },
	"edit the target's pods": func(w *world, r *rand.Rand) {
		w.edit(func(d *appsv1.Deployment) {
			switch r.IntN(3) {
			case 0:
				d.Spec.MinReadySeconds = r.Int32N(10)
			case 1:
				d.Spec.Template.Annotations = map[string]string{"note": fmt.Sprint(r.Int())}
				if w.oneByOne(d) {
					w.oracle.robbed()
				}
			default:
				d.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort = 8080
				if w.oneByOne(d) {
					w.oracle.robbed()
				}
			}
		})
	},
}

// edits are changes of the Canary's spec.
var edits = map[string]func(*v1beta1.CanarySpec, *rand.Rand){
	"weights": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		a := s.Analysis
		a.Iterations, a.Match, a.StepWeight, a.StepWeights, a.MaxWeight = 0, nil, 0, nil, 0
		switch r.IntN(4) {
		case 0:
			a.StepWeight = 25
		case 1:
			a.StepWeights = []int32{10, 50, 100}
		case 2:
			a.StepWeights = []int32{1, 2, 3}
		default:
			a.StepWeight, a.MaxWeight = 30, 60
		}
	},
	"blue/green": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		a := s.Analysis
		a.Iterations, a.Match, a.StepWeight, a.StepWeights = 1+r.Int32N(3), nil, 0, nil
	},
	"a/b": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		a := s.Analysis
		a.Iterations, a.Match = 1+r.Int32N(3), []v1beta1.RawObject{{Raw: []byte(`{"headers":{"x":{"exact":"y"}}}`)}}
	},
	"match":               func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.Analysis.Match = nil },
	"huge iterations":     func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.Analysis.Iterations = 2147483647 },
	"threshold":           func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Analysis.Threshold = r.Int32N(4) },
	"interval":            func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Analysis.Interval = pick(r, "5s", "20s", "1m") },
	"mirror":              func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Analysis.Mirror = !s.Analysis.Mirror },
	"mirrorWeight":        func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Analysis.MirrorWeight = r.Int32N(101) },
	"stepWeightPromotion": func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Analysis.StepWeightPromotion = r.Int32N(101) },
	"ready thresholds": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		s.Analysis.PrimaryReadyThreshold, s.Analysis.CanaryReadyThreshold = new(r.Int32N(101)), new(r.Int32N(101))
	},
	"metrics": func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.Analysis.Metrics = nil },
	"inline query": func(s *v1beta1.CanarySpec, _ *rand.Rand) {
		s.Analysis.Metrics[0].TemplateRef, s.Analysis.Metrics[0].Query = nil, "slo"
	},
	"missing metric": func(s *v1beta1.CanarySpec, _ *rand.Rand) {
		s.Analysis.Metrics[0].TemplateRef = &v1beta1.CrossNamespaceObjectReference{Name: "none"}
	},
	"sessions": func(s *v1beta1.CanarySpec, _ *rand.Rand) {
		if s.Analysis.SessionAffinity != nil {
			s.Analysis.SessionAffinity = nil
			return
		}
		s.Analysis.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "c"}
	},
	"hooks": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		s.Analysis.Webhooks = nil
		for _, kind := range hookKinds {
			if r.IntN(3) == 0 {
				s.Analysis.Webhooks = append(s.Analysis.Webhooks, v1beta1.CanaryWebhook{Type: v1beta1.HookType(kind), Name: kind, URL: "http://hooks.test/" + kind})
			}
		}
	},
	"provider": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		s.Provider = pick(r, "one", "two", "kubernetes", unknownProvider)
	},
	"target's name": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		s.TargetRef.Name = pick(r, "other", "podinfo", "podinfo-primary")
	},
	"target's kind": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		s.TargetRef.Kind = pick(r, "Deployment", "StatefulSet", "DaemonSet")
	},
	"service's name": func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Service.Name = pick(r, "", "front", "podinfo") },
	"headless":       func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.Service.Headless = !s.Service.Headless },
	"port":           func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Service.Port = 9000 + r.Int32N(900) },
	"port's name":    func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Service.PortName = pick(r, "web", "grpc", "") },
	"target port":    func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Service.TargetPort = intstr.FromString("http") },
	"appProtocol":    func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Service.AppProtocol = pick(r, "http", "grpc", "tcp") },
	"port discovery": func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.Service.PortDiscovery = !s.Service.PortDiscovery },
	"distribution":   func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.Service.TrafficDistribution = "PreferClose" },
	"metadata": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		s.Service.Apex = &v1beta1.CustomMetadata{Labels: map[string]string{"x": fmt.Sprint(r.IntN(9))}}
	},
	"timeout":    func(s *v1beta1.CanarySpec, r *rand.Rand) { s.Service.Timeout = pick(r, "", "5s", "1m") },
	"autoscaler": func(s *v1beta1.CanarySpec, r *rand.Rand) { s.AutoscalerRef = nil },
	"no such autoscaler": func(s *v1beta1.CanarySpec, r *rand.Rand) {
		s.AutoscalerRef = &v1beta1.AutoscalerReference{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler", Name: "none"}
	},
	"progress deadline": func(s *v1beta1.CanarySpec, r *rand.Rand) { s.ProgressDeadlineSeconds = new(r.Int32N(120)) },
	"drain delay":       func(s *v1beta1.CanarySpec, r *rand.Rand) { s.DrainDelaySeconds = new(5 + r.Int32N(60)) },
	"skipAnalysis":      func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.SkipAnalysis = true },
	"revertOnDeletion":  func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.RevertOnDeletion = !s.RevertOnDeletion },
	"suspend":           func(s *v1beta1.CanarySpec, _ *rand.Rand) { s.Suspend = !s.Suspend },
	"old analysis": func(s *v1beta1.CanarySpec, _ *rand.Rand) {
		s.CanaryAnalysis, s.Analysis.StepWeight = s.Analysis.DeepCopy(), 0
	},
}

var hookKinds = []string{"confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "post-rollout", "rollback"}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

// longestCrash is how long a pod that crashes is away at most.
const longestCrash = 92 * time.Second

// until is how long something lasts.
func until(r *rand.Rand) time.Time { return time.Now().Add(time.Duration(2+r.IntN(90)) * time.Second) }

func propagation(r *rand.Rand) metav1.DeletionPropagation {
	return metav1.DeletionPropagation(pick(r, "Foreground", "Background", "Background", "Orphan"))
}

// inGit has Git ask for a number of pods, whether or not there is a target at present.
func (w *world) inGit(replicas int32) {
	w.git.replicas, w.asked = replicas, replicas
	w.fewest = min(w.fewest, replicas)
}

// oneByOne tells whether a change of the pods may leave a Deployment without any for a moment.
func (w *world) oneByOne(d *appsv1.Deployment) bool { return interrupted(d) }

// mixed tells whether pods of a former revision of a Deployment are there still.
func (w *world) mixed(d *appsv1.Deployment) bool {
	revision := hashOf(&d.Spec.Template)
	return slices.ContainsFunc(w.pods, func(p *pod) bool { return p.owner == d.UID && p.revision != revision && !p.ending() })
}

// edit changes the target.
func (w *world) edit(with func(*appsv1.Deployment)) {
	edit(w.store, "Deployment", "podinfo", with)
	if d := w.deployment("podinfo"); d != nil && w.oneByOne(d) && w.mixed(d) {
		w.oracle.robbed() // he has its controller take what serves, for what may never do
	}
	if d := w.deployment("podinfo"); d != nil && *d.Spec.Replicas > 0 {
		w.fewest = min(w.fewest, *d.Spec.Replicas)
	}
	if d := w.deployment("podinfo"); d != nil && w.git.target != nil {
		replicas := w.git.target.Spec.Replicas
		w.git.target.Spec = *d.Spec.DeepCopy()
		w.git.target.Spec.Replicas = replicas
	}
}

func (w *world) release(image string) {
	w.trace("release of %s", image)
	w.edit(func(d *appsv1.Deployment) {
		if w.oneByOne(d) {
			w.oracle.robbed() // the canary's pods go before others are there
		}
		d.Spec.Template.Spec.Containers[0].Image = "app:" + strings.TrimPrefix(image, "app:")
	})
}

// unknownProvider is the name of no router.
const unknownProvider = "none"

// spec changes the Canary's spec, and perhaps back.
func (w *world) spec(r *rand.Rand, with func(*v1beta1.CanarySpec, *rand.Rand)) {
	c := w.canary()
	if c == nil {
		return
	}
	before := c.Spec.DeepCopy()
	edit(w.store, "Canary", c.Name, func(c *v1beta1.Canary) {
		defer func() { _ = recover() }() // the field was there before another edit
		with(&c.Spec, r)
	})
	if r.IntN(2) == 0 {
		w.later(until(r), "the spec is as before", func() {
			edit(w.store, "Canary", c.Name, func(c *v1beta1.Canary) { c.Spec = *before })
		})
	}
}

func relabel(d *appsv1.Deployment, key, value string) {
	d.Spec.Selector.MatchLabels[key] = value
	d.Spec.Template.Labels[key] = value
}

// recreate deletes the target and creates it again after a while, changed.
func (w *world) recreate(r *rand.Rand, with func(*appsv1.Deployment)) {
	d := w.deployment("podinfo")
	if d == nil {
		return
	}
	w.oracle.robbed()
	again := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: d.Name}, Spec: *d.Spec.DeepCopy()}
	with(again)
	if r.IntN(2) == 0 {
		again.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("app:good-%d", w.turns+1)
	}
	again.Spec.Replicas = new(w.plan.Pods)
	w.git.target = again.DeepCopy()
	_ = w.remove(id{"Deployment", "podinfo"}, metav1.DeletionPropagation(pick(r, "Background", "Foreground"))) // it is there
	w.later(time.Now().Add(time.Duration(r.IntN(20))*time.Second), "the target is there again", func() { w.make(again.DeepCopy()) })
}

func (w *world) crash(r *rand.Rand, primary bool) {
	w.oracle.robbed()
	every := r.IntN(2) == 0
	for _, p := range w.pods {
		if strings.HasSuffix(p.labels["app"], "-primary") == primary && (every || r.IntN(2) == 0) {
			p.die(until(r))
			w.oracle.crashes(primary)
		}
	}
}

// crashAllBut has pods of a side crash for a minute, all but so many.
func (w *world) crashAllBut(left int, primary bool) {
	w.oracle.robbed()
	for _, p := range w.pods {
		if strings.HasSuffix(p.labels["app"], "-primary") != primary || p.ending() {
			continue
		}
		if left > 0 {
			left--
			continue
		}
		p.die(time.Now().Add(time.Minute))
		w.oracle.crashes(primary)
	}
}

func (w *world) action(kind v1beta1.ActionType) {
	w.uids++
	w.make(&v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("a-%d", w.uids)},
		Spec:       v1alpha1.CanaryActionSpec{Canary: w.key.Name, Action: kind},
	})
}

// back asks for the primary to have a revision again.
func (w *world) back(to string) {
	w.uids++
	w.trace("back to %s", to)
	w.make(&v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("a-%d", w.uids)},
		Spec:       v1alpha1.CanaryActionSpec{Canary: w.key.Name, Action: v1beta1.ActionRollback, ToRevision: to},
	})
}

// removeMesh takes the meshes' kinds away, and with them all routes.
func (w *world) removeMesh(until time.Time) {
	w.meshGone = until
	w.oracle.robbed()
	for _, m := range w.meshes {
		if c := w.canary(); c == nil || c.Status.Phase != "" { // else nobody knows what they had: the status is lost as well
			for apex, r := range m.routes {
				m.last[apex] = r.asked
			}
		}
		clear(m.routes)
	}
}

func (w *world) resumeAt(at time.Time) {
	w.later(at, "somebody resumes", func() { w.action(v1beta1.ActionResume) })
}

// repair ends everything that the adversary does, and gives back what was taken.
func (w *world) repair() {
	w.trace("everything is mended")
	w.policy.end()
	w.cacheLags, w.refusals = map[string]lag{}, map[string]time.Time{}
	w.meshDown, w.meshGone, w.metricsDown, w.gatesClosed, w.hooksSlow, w.endpointLag = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	for _, due := range w.due {
		due.do()
	}
	w.due = nil
	for _, p := range w.pods {
		if p.dead && !p.ending() {
			p.restartAt = time.Now()
		}
	}
	if w.canary() == nil || !w.canary().DeletionTimestamp.IsZero() {
		return // whoever deletes a Canary mends nothing
	}
	for _, a := range all[*v1alpha1.CanaryAction](w.store) {
		if !a.Finished() { // what people have asked for meanwhile they take back
			w.drop(id{"CanaryAction", a.Name})
		}
	}
	w.make(newTemplate())
	w.makeConfigs()
	w.giveBackCopies()
	if w.plan.HPA {
		w.make(newHPA(w.plan))
	}
	if w.deployment("podinfo") == nil {
		d := newTarget(w.plan)
		d.Spec.Template.Spec.Containers[0].Image, _ = splitVersion(w.oracle.primaryImage)
		if w.oracle.primaryImage == "" {
			d.Spec.Template.Spec.Containers[0].Image = "app:good-0"
		}
		w.git.target = d.DeepCopy()
		w.oracle.robbed() // pods that the former one has left are replaced
		w.make(d)
	}
	if w.oracle.apart() {
		selector := w.deployment("podinfo").Spec.Selector.MatchLabels
		edit(w.store, "Service", "podinfo", func(s *corev1.Service) { s.Spec.Selector = maps.Clone(selector) })
	}
	w.later(time.Now().Add(30*time.Second), "a pause ends", func() {
		if c := w.canary(); c != nil && c.Status.Paused {
			w.action(v1beta1.ActionResume)
		}
	})
	if (w.oracle.initialized || w.oracle.lostStatus) && w.deployment("podinfo-primary") == nil {
		image := w.oracle.primaryImage // as the Canary asks people to do
		failed := w.oracle.targetImage() == image && w.canary().Status.Phase == v1beta1.PhaseFailed
		if strings.Contains(image, "bad") || strings.Contains(image, "broken") || failed {
			// It was the first, or promoted by hand, or never serves in the primary, or is not all that the primary was.
			_, contents := splitVersion(image)
			image = fmt.Sprintf("good-%d", w.turns+1) + strings.Repeat("+good-0", len(contents))
		}
		w.runs(image)
	}
	spec := newCanary(w.plan).Spec
	if is := w.canary().Status.Identity; is != nil {
		// What an edit named before anybody was led to it is what the Canary is about since. It refuses any other, and asks people
		// to set that back.
		spec.TargetRef.Kind, spec.TargetRef.Name, spec.Service.Name = is.TargetKind, is.TargetName, is.Apex
		spec.Service.Headless = is.Headless
		if is.Provider != unknownProvider { // nobody could be led by that
			spec.Provider = is.Provider
		}
	}
	edit(w.store, "Canary", w.key.Name, func(c *v1beta1.Canary) { c.Spec = spec })
	if w.operator == nil {
		w.operatorAt = time.Now()
	}
	if p := w.deployment("podinfo-primary"); p != nil && w.byHand >= 0 {
		w.byHand = w.plan.Pods
		edit(w.store, "Deployment", p.Name, func(d *appsv1.Deployment) { d.Spec.Replicas = new(w.plan.Pods) })
	}
}

// does carries out what an act names: one of doings, or "edit: " and one of edits, which stays.
func (w *world) does(a act) {
	w.trace("ACT: %s", a.What)
	r := rand.New(rand.NewPCG(a.Rand, 2))
	if name, ok := strings.CutPrefix(a.What, "edit: "); ok {
		edit(w.store, "Canary", w.key.Name, func(c *v1beta1.Canary) { edits[name](&c.Spec, r) })
	} else {
		doings[a.What](w, r)
	}
	w.oracle.probe()
}
