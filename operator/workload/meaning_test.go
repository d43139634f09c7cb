package workload_test

import (
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/operator/workload"
)

// written is a pod template as a person writes it.
const written = `
metadata:
  labels: {app: podinfo}
spec:
  serviceAccountName: podinfo
  initContainers:
    - name: migrate
      image: migrate:1
      env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
    - {name: proxy, image: proxy:latest, restartPolicy: Always, ports: [{containerPort: 15000}]}
  containers:
    - name: podinfod
      image: ghcr.io/acme:443/podinfo
      ports: [{name: http, containerPort: 9898}]
      livenessProbe: {grpc: {port: 9999}}
      readinessProbe: {httpGet: {port: http}}
      startupProbe: {tcpSocket: {port: http}, periodSeconds: 1}
      lifecycle:
        preStop: {httpGet: {port: http}}
    - {name: pinned, image: "podinfo@sha256:0f"}
  topologySpreadConstraints:
    - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: podinfo}}}
  volumes:
    - {name: config, configMap: {name: config}}
    - {name: secret, secret: {secretName: secret}}
    - {name: host, hostPath: {path: /tmp}}
    - {name: cache, emptyDir: {}}
    - {name: fields, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
    - name: all
      projected:
        sources:
          - {serviceAccountToken: {path: token}}
          - {downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
    - {name: scratch, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}
    - {name: disk, iscsi: {targetPortal: a, iqn: b, lun: 0}}
    - {name: model, image: {reference: "model:latest"}}
`

// defaulted is the same as the API server answers it, with what other versions
// of Kubernetes might add.
const defaulted = `
metadata:
  creationTimestamp: null
  labels: {app: podinfo}
  annotations: {}
spec:
  restartPolicy: Always
  terminationGracePeriodSeconds: 30
  dnsPolicy: ClusterFirst
  schedulerName: default-scheduler
  enableServiceLinks: true
  preemptionPolicy: PreemptLowerPriority
  securityContext: {}
  serviceAccount: podinfo
  serviceAccountName: podinfo
  nodeSelector: {}
  tolerations: []
  affinity: {nodeAffinity: {}}
  initContainers:
    - name: migrate
      image: migrate:1
      imagePullPolicy: IfNotPresent
      resources: {}
      terminationMessagePath: /dev/termination-log
      terminationMessagePolicy: File
      env: [{name: NODE, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: spec.nodeName}}}]
    - name: proxy
      image: proxy:latest
      imagePullPolicy: Always
      restartPolicy: Always
      ports: [{containerPort: 15000, protocol: TCP}]
      terminationMessagePath: /dev/termination-log
      terminationMessagePolicy: File
  containers:
    - name: podinfod
      image: ghcr.io/acme:443/podinfo
      imagePullPolicy: Always
      ports: [{name: http, containerPort: 9898, protocol: TCP}]
      securityContext: {procMount: Default}
      livenessProbe: {grpc: {port: 9999, service: ""}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
      readinessProbe: {httpGet: {port: http, path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
      startupProbe: {tcpSocket: {port: http}, timeoutSeconds: 1, periodSeconds: 1, successThreshold: 1, failureThreshold: 3}
      lifecycle:
        preStop: {httpGet: {port: http, path: /, scheme: HTTP}}
      terminationMessagePath: /dev/termination-log
      terminationMessagePolicy: File
    - name: pinned
      image: "podinfo@sha256:0f"
      imagePullPolicy: IfNotPresent
      env: []
      terminationMessagePath: /dev/termination-log
      terminationMessagePolicy: File
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: zone
      whenUnsatisfiable: DoNotSchedule
      labelSelector: {matchLabels: {app: podinfo}}
      minDomains: 1
      nodeAffinityPolicy: Honor
      nodeTaintsPolicy: Ignore
  volumes:
    - {name: config, configMap: {name: config, defaultMode: 420}}
    - {name: secret, secret: {secretName: secret, defaultMode: 420}}
    - {name: host, hostPath: {path: /tmp, type: ""}}
    - {name: cache, emptyDir: {}}
    - {name: fields, downwardAPI: {defaultMode: 420, items: [{path: labels, fieldRef: {apiVersion: v1, fieldPath: metadata.labels}}]}}
    - name: all
      projected:
        defaultMode: 420
        sources:
          - {serviceAccountToken: {path: token, expirationSeconds: 3600}}
          - {downwardAPI: {items: [{path: labels, fieldRef: {apiVersion: v1, fieldPath: metadata.labels}}]}}
    - name: scratch
      ephemeral:
        volumeClaimTemplate:
          metadata: {creationTimestamp: null}
          spec: {accessModes: [ReadWriteOnce], volumeMode: Filesystem, resources: {requests: {storage: 1Gi}}}
    - {name: disk, iscsi: {targetPortal: a, iqn: b, lun: 0, iscsiInterface: default}}
    - {name: model, image: {reference: "model:latest", pullPolicy: Always}}
`

func withTemplate(t *testing.T, manifest string) deployment {
	t.Helper()
	return newDeployment().with(func(d *appsv1.Deployment) {
		d.Spec.Template = corev1.PodTemplateSpec{}
		if err := yaml.UnmarshalStrict([]byte(manifest), &d.Spec.Template); err != nil {
			t.Fatal(err)
		}
	})
}

// Pain 7: what the API server, another version of it, or an admission webhook
// adds by default is no change of the user's.
func TestRevisionWithoutDefaults(t *testing.T) {
	if got, want := revisionOf(t, withTemplate(t, defaulted)), revisionOf(t, withTemplate(t, written)); got != want {
		t.Errorf("revision %s with defaults, %s without", got, want)
	}
}

// What looks like a default elsewhere, or is empty and has a meaning, is a
// change.
func TestRevisionMeans(t *testing.T) {
	base := revisionOf(t, withTemplate(t, written))
	container := func(change func(*corev1.Container)) func(*corev1.PodTemplateSpec) {
		return func(p *corev1.PodTemplateSpec) { change(&p.Spec.Containers[0]) }
	}
	for name, change := range map[string]func(*corev1.PodTemplateSpec){
		"another pull policy":         container(func(c *corev1.Container) { c.ImagePullPolicy = corev1.PullIfNotPresent }),
		"another protocol":            container(func(c *corev1.Container) { c.Ports[0].Protocol = corev1.ProtocolUDP }),
		"another period":              container(func(c *corev1.Container) { c.ReadinessProbe.PeriodSeconds = 1 }),
		"the period of another probe": container(func(c *corev1.Container) { c.StartupProbe.PeriodSeconds = 10 }),
		"another host port":           container(func(c *corev1.Container) { c.Ports[0].HostPort = 9898 }),
		"an environment variable":     container(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "EMPTY"}} }),
		"no privilege escalation": container(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: new(false)}
		}),
		"a limit":                  container(func(c *corev1.Container) { c.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1")} }),
		"no service links":         func(p *corev1.PodTemplateSpec) { p.Spec.EnableServiceLinks = new(false) },
		"no token":                 func(p *corev1.PodTemplateSpec) { p.Spec.AutomountServiceAccountToken = new(false) },
		"a shorter grace period":   func(p *corev1.PodTemplateSpec) { p.Spec.TerminationGracePeriodSeconds = new(int64(5)) },
		"another service account":  func(p *corev1.PodTemplateSpec) { p.Spec.ServiceAccountName = "other" },
		"no service account":       func(p *corev1.PodTemplateSpec) { p.Spec.ServiceAccountName = "" },
		"another mode of a volume": func(p *corev1.PodTemplateSpec) { p.Spec.Volumes[0].ConfigMap.DefaultMode = new(int32(0o400)) },
		"another kind of volume": func(p *corev1.PodTemplateSpec) {
			p.Spec.Volumes[3].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}
		},
		"the order of containers": func(p *corev1.PodTemplateSpec) { c := p.Spec.Containers; c[0], c[1] = c[1], c[0] },
		"a sidecar that was none": func(p *corev1.PodTemplateSpec) {
			p.Spec.InitContainers[0].RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		},
		"spread over nothing": func(p *corev1.PodTemplateSpec) { p.Spec.TopologySpreadConstraints[0].LabelSelector = nil },
		"spread over everything": func(p *corev1.PodTemplateSpec) {
			p.Spec.TopologySpreadConstraints[0].LabelSelector = &metav1.LabelSelector{}
		},
		"the taints of nodes": func(p *corev1.PodTemplateSpec) {
			p.Spec.TopologySpreadConstraints[0].NodeTaintsPolicy = new(corev1.NodeInclusionPolicyHonor)
		},
		"a label":         func(p *corev1.PodTemplateSpec) { p.Labels["team"] = "a" },
		"a node selector": func(p *corev1.PodTemplateSpec) { p.Spec.NodeSelector = map[string]string{"dnsPolicy": "ClusterFirst"} },
		"a restart by kubectl": func(p *corev1.PodTemplateSpec) {
			p.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
		},
		"an annotation for the sidecar": func(p *corev1.PodTemplateSpec) { p.Annotations = map[string]string{"sidecar.istio.io/inject": "false"} },
	} {
		t.Run(name, func(t *testing.T) {
			changed := withTemplate(t, written)
			change(&changed.Spec.Template)
			if revisionOf(t, changed) == base {
				t.Error("the revision is the same")
			}
			if same := revisionOf(t, withTemplate(t, written)); same != base {
				t.Errorf("the template was changed: %s", same)
			}
		})
	}
}

// A selector that is empty selects everything, one that is absent nothing.
func TestRevisionOfEmptySelectors(t *testing.T) {
	by := func(s *metav1.LabelSelector) string {
		return revisionOf(t, newDeployment().with(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{TopologyKey: "zone", LabelSelector: s}}
		}))
	}
	if by(nil) == by(&metav1.LabelSelector{}) {
		t.Error("they are the same revision")
	}
}

func TestRevisionOfHostPorts(t *testing.T) {
	on := func(port int32) string {
		return revisionOf(t, newDeployment().with(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.HostNetwork = true
			d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 9898, HostPort: port}}
		}))
	}
	if on(0) != on(9898) {
		t.Error("on the host's network, the host's port is the container's by default")
	}
}

// What tools note on pods for themselves is no release, and does not go over to
// the primary, where it would start its pods anew.
func TestNotes(t *testing.T) {
	base := revisionOf(t, newDeployment())
	for _, key := range []string{
		"argocd.argoproj.io/tracking-id", "deprecated.daemonset.template.generation", "flagger-id",
		"kubectl.kubernetes.io/last-applied-configuration", "kustomize.toolkit.fluxcd.io/checksum", "meta.helm.sh/release-name", "sluice.dev/applied",
	} {
		t.Run(key, func(t *testing.T) {
			noted := newDeployment().with(func(d *appsv1.Deployment) {
				d.Spec.Template.Annotations[key] = "x"
				d.Spec.Template.Labels[key] = "x"
			})
			if got := revisionOf(t, noted); got != base {
				t.Errorf("revision %s, was %s", got, base)
			}
			copied := primaryOf(t, noted, nil, defaults).Spec.Template
			want := primaryOf(t, newDeployment(), nil, defaults).Spec.Template
			if !maps.Equal(copied.Annotations, want.Annotations) || !maps.Equal(copied.Labels, want.Labels) {
				t.Errorf("the primary's pods have %v and %v", copied.Annotations, copied.Labels)
			}
		})
	}
}

func TestRevisionOfKinds(t *testing.T) {
	d, s := newDaemonSet(), newStatefulSet()
	base, err := workload.Revision(d)
	if err != nil {
		t.Fatal(err)
	}
	if of, err := workload.Revision(s); err != nil || of != base {
		t.Errorf("revision %s of a StatefulSet with the same pods, want %s (%v)", of, base, err)
	}
	d.Spec.Template.Spec.NodeSelector = map[string]string{workload.ScaleToZeroLabel: "true"}
	if asleep, err := workload.Revision(d); err != nil || asleep != base {
		t.Errorf("revision %s of a DaemonSet that is scaled to zero, want %s (%v)", asleep, base, err)
	}
	d.Spec.Template.Spec.NodeSelector["disk"] = "ssd"
	if other, err := workload.Revision(d); err != nil || other == base {
		t.Errorf("revision %s with other nodes (%v)", other, err)
	}
	if len(d.Spec.Template.Spec.NodeSelector) != 2 {
		t.Error("the target was changed")
	}
}

func TestRevisionOfService(t *testing.T) {
	base, err := workload.Revision(newService())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change   func(*corev1.ServiceSpec)
		wantSame bool
	}{
		"what the cluster assigns": {change: func(s *corev1.ServiceSpec) {
			s.ClusterIP, s.ClusterIPs, s.IPFamilies = "10.0.0.2", []string{"10.0.0.2"}, []corev1.IPFamily{corev1.IPv4Protocol}
			s.IPFamilyPolicy = new(corev1.IPFamilyPolicySingleStack)
		}, wantSame: true},
		"defaults": {change: func(s *corev1.ServiceSpec) {
			s.Type, s.SessionAffinity, s.InternalTrafficPolicy = corev1.ServiceTypeClusterIP, corev1.ServiceAffinityNone, new(corev1.ServiceInternalTrafficPolicyCluster)
			s.Ports[0].Protocol = corev1.ProtocolTCP
		}, wantSame: true},
		"a way in from outside": {change: func(s *corev1.ServiceSpec) {
			s.Type, s.Ports[0].NodePort, s.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, 30000, corev1.ServiceExternalTrafficPolicyLocal
		}, wantSame: true},
		"selector":      {change: func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"app": "b"} }},
		"port":          {change: func(s *corev1.ServiceSpec) { s.Ports[0].TargetPort = intstr.FromInt32(1) }},
		"external name": {change: func(s *corev1.ServiceSpec) { s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "b.example" }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			tc.change(&s.Spec)
			got, err := workload.Revision(s)
			if err != nil || (got == base) != tc.wantSame {
				t.Errorf("revision %s, was %s (%v)", got, base, err)
			}
		})
	}
}
