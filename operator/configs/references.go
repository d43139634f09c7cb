package configs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// Kind is the kind of a config, as it is written in status.trackedConfigs.
type Kind string

// Kinds of configs.
const (
	ConfigMap Kind = "configmap"
	Secret    Kind = "secret"
)

// Ref names a ConfigMap or a Secret in the namespace of a workload.
type Ref struct {
	Kind Kind
	Name string
}

// String is the key in status.trackedConfigs: "configmap/NAME" or "secret/NAME".
func (r Ref) String() string { return string(r.Kind) + "/" + r.Name }

// Title names the config for people: "ConfigMap NAME".
func (r Ref) Title() string {
	if r.Kind == Secret {
		return "Secret " + r.Name
	}
	return "ConfigMap " + r.Name
}

// Reference is a config that a pod template refers to.
type Reference struct {
	Ref
	// Optional is true when pods start without the config.
	Optional bool
	// PullOnly is true for a Secret that serves to pull images and nothing else.
	PullOnly bool
}

// References lists the ConfigMaps and Secrets that the pods of a template read:
// by env, envFrom, volumes and projected volumes of containers, init containers
// and sidecars, and to pull images. Each is listed once, in a fixed order.
// Credentials by which a storage driver mounts a volume are not among them:
// they belong to the storage, not to the application.
func References(template *corev1.PodTemplateSpec) []Reference {
	found := map[Ref]Reference{}
	visitConfigs(&template.Spec, func(kind Kind, name *string, at place) {
		ref := Ref{Kind: kind, Name: *name}
		known, ok := found[ref]
		if !ok {
			known = Reference{Ref: ref, Optional: true, PullOnly: true}
		}
		known.Optional = known.Optional && (at.optional || at.pull) // a missing pull secret keeps no pod from being tried
		known.PullOnly = known.PullOnly && at.pull
		found[ref] = known
	})
	return slices.SortedFunc(maps.Values(found), func(a, b Reference) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}

// Rename returns the template with references to the configs in names replaced
// by references to configs of the same kind with those names.
func Rename(template *corev1.PodTemplateSpec, names map[Ref]string) *corev1.PodTemplateSpec {
	out := template.DeepCopy()
	visitConfigs(&out.Spec, func(kind Kind, name *string, _ place) {
		if to, ok := names[Ref{Kind: kind, Name: *name}]; ok {
			*name = to
		}
	})
	return out
}

// place says what a reference is for.
type place struct{ optional, pull bool }

type visitor func(kind Kind, name *string, at place)

// visitConfigs calls visit for every reference to a config that has a name.
func visitConfigs(spec *corev1.PodSpec, visit visitor) {
	named := func(kind Kind, name *string, at place) {
		if *name != "" {
			visit(kind, name, at)
		}
	}
	for i := range spec.InitContainers {
		visitContainer(&spec.InitContainers[i], named)
	}
	for i := range spec.Containers {
		visitContainer(&spec.Containers[i], named)
	}
	for i := range spec.Volumes {
		visitVolume(&spec.Volumes[i], named)
	}
	for i := range spec.ImagePullSecrets {
		named(Secret, &spec.ImagePullSecrets[i].Name, place{pull: true})
	}
}

func visitContainer(c *corev1.Container, visit visitor) {
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		if r := from.ConfigMapKeyRef; r != nil {
			visit(ConfigMap, &r.Name, place{optional: is(r.Optional)})
		}
		if r := from.SecretKeyRef; r != nil {
			visit(Secret, &r.Name, place{optional: is(r.Optional)})
		}
	}
	for i := range c.EnvFrom {
		if r := c.EnvFrom[i].ConfigMapRef; r != nil {
			visit(ConfigMap, &r.Name, place{optional: is(r.Optional)})
		}
		if r := c.EnvFrom[i].SecretRef; r != nil {
			visit(Secret, &r.Name, place{optional: is(r.Optional)})
		}
	}
}

func visitVolume(v *corev1.Volume, visit visitor) {
	if s := v.ConfigMap; s != nil {
		visit(ConfigMap, &s.Name, place{optional: is(s.Optional)})
	}
	if s := v.Secret; s != nil {
		visit(Secret, &s.SecretName, place{optional: is(s.Optional)})
	}
	if v.Projected == nil {
		return
	}
	for i := range v.Projected.Sources {
		if s := v.Projected.Sources[i].ConfigMap; s != nil {
			visit(ConfigMap, &s.Name, place{optional: is(s.Optional)})
		}
		if s := v.Projected.Sources[i].Secret; s != nil {
			visit(Secret, &s.Name, place{optional: is(s.Optional)})
		}
	}
}

func is(b *bool) bool { return b != nil && *b }

// TrackingDisabled tells whether the annotations of a ConfigMap or Secret leave
// it untracked.
func TrackingDisabled(annotations map[string]string) bool {
	return strings.HasPrefix(annotations[v1beta1.ConfigTrackingAnnotation], v1beta1.ConfigTrackingDisabled)
}

// Shared tells whether target and primary use the very same ConfigMap or Secret,
// which is then neither tracked nor copied. That is so where its annotation
// asks for it, and by default for every Secret that does not hold an
// application's own settings: a copied service account token is not valid, and
// a copied registry credential would go stale when the registry's helper
// renews it.
func Shared(config client.Object) bool {
	if TrackingDisabled(config.GetAnnotations()) {
		return true
	}
	secret, ok := config.(*corev1.Secret)
	if !ok {
		return false
	}
	switch secret.Type {
	case "", corev1.SecretTypeOpaque, corev1.SecretTypeBasicAuth, corev1.SecretTypeSSHAuth, corev1.SecretTypeTLS:
		return false
	case corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken:
		return true // issued for one name; a copy is invalid
	case corev1.SecretTypeDockercfg, corev1.SecretTypeDockerConfigJson:
	default: // somebody's own type, whose controller would take the copy for one of its own
	}
	return secret.Annotations[v1beta1.ConfigTrackingAnnotation] != v1beta1.ConfigTrackingEnabled
}

// hashFormat names the way hashes of configs are computed. It changes with
// whatever would give another hash for the same contents.
const hashFormat = "s1-"

// Absent stands for the hash of an optional config that does not exist.
const Absent = "absent"

// Missing stands for the hash of a config that must exist and does not,
// and of which nothing is known.
const Missing = "missing"

// Hash is a short hash of the contents of a ConfigMap or Secret, prefixed
// with its format. Metadata has no part in it. data is the same without
// binaryData, which copies that Flagger made lack.
func Hash(config client.Object) (hash, data string, err error) {
	var text map[string]string
	var binary map[string][]byte
	switch c := config.(type) {
	case *corev1.ConfigMap:
		text, binary = c.Data, c.BinaryData
	case *corev1.Secret:
		text = make(map[string]string, len(c.Data))
		for k, v := range c.Data {
			text[k] = string(v)
		}
	default:
		return "", "", fmt.Errorf("hash of a %T", config)
	}
	// Lengths come first, so that no two contents give the same bytes.
	sum := sha256.New()
	write := func(value string) { fmt.Fprintf(sum, "%d:%s", len(value), value) }
	for _, k := range slices.Sorted(maps.Keys(text)) {
		write(k)
		write(text[k])
	}
	data = hashFormat + hex.EncodeToString(sum.Sum(nil)[:8])
	if len(binary) == 0 {
		return data, data, nil
	}
	write("binaryData")
	for _, k := range slices.Sorted(maps.Keys(binary)) {
		write(k)
		write(string(binary[k]))
	}
	return hashFormat + hex.EncodeToString(sum.Sum(nil)[:8]), data, nil
}

// KnownHash tells whether a hash in a status is one of Hash, and
// not that of another operator.
func KnownHash(hash string) bool { return strings.HasPrefix(hash, hashFormat) }

// HashOfAll is one hash for all tracked configs, empty if there are none.
// tracked is as in status.trackedConfigs.
func HashOfAll(tracked map[string]string) string {
	if len(tracked) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(tracked)) {
		fmt.Fprintf(sum, "%s=%s\n", k, tracked[k])
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}

// Revision is the revision of a workload together with that of the
// configs that its pods use: where a config changes, the revision does. Without
// tracked configs it is the workload's own.
func Revision(revision string, tracked map[string]string) string {
	if hash := HashOfAll(tracked); hash != "" {
		return revision + "-" + hash
	}
	return revision
}

// Changed are those of the tracked configs of a target that differ from what its last release was made of, sorted. It is nil
// where the workload differs, whose own revision is given, or where it is not known what that release was made of.
func Changed(revision string, tracked map[string]string, st *v1beta1.CanaryStatus) (out []string) {
	if st.TrackedConfigs == nil || st.LastAppliedSpec != Revision(revision, *st.TrackedConfigs) {
		return nil
	}
	was := *st.TrackedConfigs
	for name, hash := range tracked {
		if was[name] != hash {
			out = append(out, name)
		}
	}
	for name := range was {
		if _, is := tracked[name]; !is {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Copy is the primary's copy of a ConfigMap or Secret. It can be changed
// even where its source is immutable, as the next promotion does that.
func Copy(canary *v1beta1.Canary, source client.Object, name string, o workload.Options) (client.Object, error) {
	meta := workload.CopyMeta(canary, source, name, o)
	switch s := source.(type) {
	case *corev1.ConfigMap:
		return &corev1.ConfigMap{ObjectMeta: meta, Data: maps.Clone(s.Data), BinaryData: maps.Clone(s.BinaryData)}, nil
	case *corev1.Secret:
		return &corev1.Secret{ObjectMeta: meta, Type: s.Type, Data: maps.Clone(s.Data)}, nil
	default:
		return nil, fmt.Errorf("copy of a %T", source)
	}
}

// Patch is the JSON patch that gives a copy the contents of a source and
// takes nothing else from it. It is refused where the copy is not the object
// that uid and version name.
func Patch(source client.Object, uid, version string) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	ops := []operation{
		{"replace", "/metadata/uid", uid},
		{"replace", "/metadata/resourceVersion", version},
	}
	switch s := source.(type) {
	case *corev1.ConfigMap:
		ops = append(ops, operation{"add", "/data", orEmpty(s.Data)}, operation{"add", "/binaryData", orEmpty(s.BinaryData)})
	case *corev1.Secret:
		// A type that differs is refused, and the copy then made anew.
		ops = append(ops, operation{"add", "/data", orEmpty(s.Data)}, operation{"add", "/type", s.Type})
	default:
		return nil, fmt.Errorf("patch from a %T", source)
	}
	return json.Marshal(ops)
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// Annotation is on the pod template of a primary. It holds the hash of
// the configs that were promoted, so that its pods are replaced when only
// those change.
const Annotation = "sluice.dev/configs"

// UseCopies has the pod template of a primary, a plain copy of the target's,
// refer to copies of configs. names has the copy of each; hash is that of all
// tracked configs.
//
// live is the template that the primary has, or nil; carried tells whether it
// is already a copy of the target. A primary that another operator left, which
// carries what is to be, keeps its references as they are, so that taking over
// restarts no pod.
func UseCopies(template, live *corev1.PodTemplateSpec, names map[Ref]string, hash string, carried bool) *corev1.PodTemplateSpec {
	if hash == "" {
		return template
	}
	if carried && live != nil && live.Annotations[Annotation] == "" {
		sources := make(map[Ref]string, len(names))
		for source, name := range names {
			sources[Ref{Kind: source.Kind, Name: name}] = source.Name
		}
		if equality.Semantic.DeepEqual(Rename(live, sources).Spec, template.Spec) {
			kept := template.DeepCopy()
			kept.Spec = *live.Spec.DeepCopy()
			return kept
		}
	}
	out := Rename(template, names)
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	out.Annotations[Annotation] = hash
	return out
}
