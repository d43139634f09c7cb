package configs_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/configs"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// owner is the Canary that copies are made for.
var owner = v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "release", UID: "c1"}}

// places are all places of a pod template from which a config can be referred
// to, each for a config of that name.
var places = map[string]struct {
	kind configs.Kind
	pull bool
	add  func(spec *corev1.PodSpec, name string, optional *bool)
}{
	"env, ConfigMap": {kind: configs.ConfigMap, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.Containers = append(s.Containers, corev1.Container{Env: []corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "B", ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local(name), Key: "k", Optional: optional},
		}}}})
	}},
	"env, Secret": {kind: configs.Secret, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.Containers = append(s.Containers, corev1.Container{Env: []corev1.EnvVar{{Name: "B", ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local(name), Key: "k", Optional: optional},
		}}}})
	}},
	"envFrom, ConfigMap": {kind: configs.ConfigMap, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.Containers = append(s.Containers, corev1.Container{EnvFrom: []corev1.EnvFromSource{{
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local(name), Optional: optional},
		}}})
	}},
	"envFrom, Secret": {kind: configs.Secret, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.Containers = append(s.Containers, corev1.Container{EnvFrom: []corev1.EnvFromSource{{
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local(name), Optional: optional},
		}}})
	}},
	"init container": {kind: configs.ConfigMap, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.InitContainers = append(s.InitContainers, corev1.Container{EnvFrom: []corev1.EnvFromSource{{
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local(name), Optional: optional},
		}}})
	}},
	"sidecar": {kind: configs.Secret, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.InitContainers = append(s.InitContainers, corev1.Container{
			RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
			Env: []corev1.EnvVar{{Name: "B", ValueFrom: &corev1.EnvVarSource{
				SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local(name), Key: "k", Optional: optional},
			}}},
		})
	}},
	"volume, ConfigMap": {kind: configs.ConfigMap, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.Volumes = append(s.Volumes, corev1.Volume{VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local(name), Optional: optional},
		}})
	}},
	"volume, Secret": {kind: configs.Secret, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.Volumes = append(s.Volumes, corev1.Volume{VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: name, Optional: optional},
		}})
	}},
	"projected, ConfigMap": {kind: configs.ConfigMap, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.Volumes = append(s.Volumes, projected(
			corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}},
			corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local(name), Optional: optional}}))
	}},
	"projected, Secret": {kind: configs.Secret, add: func(s *corev1.PodSpec, name string, optional *bool) {
		s.Volumes = append(s.Volumes, projected(corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: local(name), Optional: optional}}))
	}},
	"image pull secret": {kind: configs.Secret, pull: true, add: func(s *corev1.PodSpec, name string, _ *bool) {
		s.ImagePullSecrets = append(s.ImagePullSecrets, local(name))
	}},
}

func local(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func projected(sources ...corev1.VolumeProjection) corev1.Volume {
	return corev1.Volume{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}}}
}

func TestReferencesAndRename(t *testing.T) {
	for name, tc := range places {
		t.Run(name, func(t *testing.T) {
			for _, optional := range []*bool{nil, new(false), new(true)} {
				template := &corev1.PodTemplateSpec{}
				tc.add(&template.Spec, "a", optional)
				ref := configs.Ref{Kind: tc.kind, Name: "a"}
				want := []configs.Reference{{Ref: ref, Optional: tc.pull || optional != nil && *optional, PullOnly: tc.pull}}
				if diff := cmp.Diff(want, configs.References(template)); diff != "" {
					t.Errorf("references: -want +got\n%s", diff)
				}
				renamed := &corev1.PodTemplateSpec{}
				tc.add(&renamed.Spec, "a-primary", optional)
				before := template.DeepCopy()
				if diff := cmp.Diff(renamed, configs.Rename(template, map[configs.Ref]string{ref: "a-primary"})); diff != "" {
					t.Errorf("renamed: -want +got\n%s", diff)
				}
				if diff := cmp.Diff(before, template); diff != "" {
					t.Errorf("Rename changed its argument:\n%s", diff)
				}
				other := configs.Ref{Kind: configs.ConfigMap, Name: "a"}
				if tc.kind == configs.ConfigMap {
					other.Kind = configs.Secret
				}
				if diff := cmp.Diff(before, configs.Rename(template, map[configs.Ref]string{other: "x"})); diff != "" {
					t.Errorf("another kind's name was taken:\n%s", diff)
				}
			}
		})
	}
}

func TestReferencesOfManyPlaces(t *testing.T) {
	template := &corev1.PodTemplateSpec{}
	places["envFrom, Secret"].add(&template.Spec, "both", new(true))
	places["image pull secret"].add(&template.Spec, "both", nil)
	places["envFrom, ConfigMap"].add(&template.Spec, "needed once", new(true))
	places["volume, ConfigMap"].add(&template.Spec, "needed once", nil)
	places["envFrom, ConfigMap"].add(&template.Spec, "needed first", nil)
	places["volume, ConfigMap"].add(&template.Spec, "needed first", new(true))
	places["volume, ConfigMap"].add(&template.Spec, "", nil)
	template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{VolumeSource: corev1.VolumeSource{
		CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: &corev1.LocalObjectReference{Name: "of the storage"}},
	}})
	template.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local("of a debugger")}}},
	}}}
	want := []configs.Reference{
		{Ref: configs.Ref{Kind: configs.ConfigMap, Name: "needed first"}},
		{Ref: configs.Ref{Kind: configs.ConfigMap, Name: "needed once"}},
		{Ref: configs.Ref{Kind: configs.Secret, Name: "both"}, Optional: true},
	}
	if diff := cmp.Diff(want, configs.References(template)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// drawTemplate gives a template with configs in any places.
func drawTemplate(t *rapid.T) *corev1.PodTemplateSpec {
	template := &corev1.PodTemplateSpec{}
	names := rapid.SliceOfN(rapid.SampledFrom(slices.Sorted(maps.Keys(places))), 0, 12).Draw(t, "places")
	for _, p := range names {
		places[p].add(&template.Spec, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), rapid.Ptr(rapid.Bool(), true).Draw(t, "optional"))
	}
	return template
}

// What is listed and then renamed leaves no reference to an original, and back
// again nothing is different.
func TestRenameCoversReferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		template := drawTemplate(t)
		names, back := map[configs.Ref]string{}, map[configs.Ref]string{}
		for _, ref := range configs.References(template) {
			to := ref.Name + "-primary"
			names[ref.Ref] = to
			back[configs.Ref{Kind: ref.Kind, Name: to}] = ref.Name
		}
		renamed := configs.Rename(template, names)
		for _, ref := range configs.References(renamed) {
			if !strings.HasSuffix(ref.Name, "-primary") {
				t.Errorf("%s is left", ref.Title())
			}
		}
		// Nothing but strings that are names has changed.
		raw, err := json.Marshal(renamed)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), `"name":"a"`) || strings.Contains(string(raw), `"secretName":"a"`) {
			t.Errorf("a name is left in %s", raw)
		}
		if diff := cmp.Diff(template, configs.Rename(renamed, back)); diff != "" {
			t.Errorf("there and back: -want +got\n%s", diff)
		}
	})
}

func TestShared(t *testing.T) {
	tracking := func(value string) map[string]string { return map[string]string{"flagger.app/config-tracking": value} }
	secret := func(kind corev1.SecretType, annotations map[string]string) client.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Type: kind}
	}
	for name, tc := range map[string]struct {
		of   client.Object
		want bool
	}{
		"ConfigMap":                  {of: &corev1.ConfigMap{}},
		"ConfigMap, opted out":       {of: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: tracking("disabled")}}, want: true},
		"ConfigMap, another value":   {of: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: tracking("enabled")}}},
		"ConfigMap, disable":         {of: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: tracking("disable")}}, want: true},
		"ConfigMap, with a reason":   {of: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: tracking("disabled-by-ops")}}, want: true},
		"ConfigMap, in capitals":     {of: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: tracking("Disabled")}}},
		"Secret without type":        {of: secret("", nil)},
		"opaque":                     {of: secret(corev1.SecretTypeOpaque, nil)},
		"opaque, opted out":          {of: secret(corev1.SecretTypeOpaque, tracking("disabled")), want: true},
		"TLS":                        {of: secret(corev1.SecretTypeTLS, nil)},
		"basic auth":                 {of: secret(corev1.SecretTypeBasicAuth, nil)},
		"SSH":                        {of: secret(corev1.SecretTypeSSHAuth, nil)},
		"pain 8: registry":           {of: secret(corev1.SecretTypeDockerConfigJson, nil), want: true},
		"registry of old":            {of: secret(corev1.SecretTypeDockercfg, nil), want: true},
		"registry, opted in":         {of: secret(corev1.SecretTypeDockerConfigJson, tracking("enabled"))},
		"service account":            {of: secret(corev1.SecretTypeServiceAccountToken, nil), want: true},
		"service account, opted in":  {of: secret(corev1.SecretTypeServiceAccountToken, tracking("enabled")), want: true},
		"bootstrap token, opted in":  {of: secret(corev1.SecretTypeBootstrapToken, tracking("enabled")), want: true},
		"somebody's type":            {of: secret("helm.sh/release.v1", nil), want: true},
		"somebody's type, opted in":  {of: secret("acme.example/key", tracking("enabled"))},
		"somebody's type, opted out": {of: secret("acme.example/key", tracking("disabled")), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := configs.Shared(tc.of); got != tc.want {
				t.Errorf("shared %v, want %v", got, tc.want)
			}
		})
	}
}

func configHash(t *testing.T, o client.Object) string {
	t.Helper()
	hash, _, err := configs.Hash(o)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// Pain 7: hashes that another build computes differently would release every
// application again. Whoever changes these values must change the format too.
func TestConfigHashIsTheSameInEveryBuild(t *testing.T) {
	config := &corev1.ConfigMap{Data: map[string]string{"color": "blue"}, BinaryData: map[string][]byte{"logo": {1}}}
	hash, data, err := configs.Hash(config)
	if err != nil || hash != "s1-2a9de7c111c4f047" || data != "s1-28b3ee4dd2168ef1" {
		t.Errorf("hash %s, of the data %s, error %v", hash, data, err)
	}
	if got, want := configs.Revision("s1-a", map[string]string{"configmap/a": hash, "secret/b": "s1-2"}), "s1-a-2726f9bc3aae"; got != want {
		t.Errorf("revision %s, want %s", got, want)
	}
}

func TestConfigHash(t *testing.T) {
	base := &corev1.ConfigMap{Data: map[string]string{"a": "1", "b": "2"}}
	for name, tc := range map[string]struct {
		of       client.Object
		wantSame bool
	}{
		"other metadata": {of: &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "x", ResourceVersion: "9", Labels: map[string]string{"a": "b"}},
			Data:       map[string]string{"b": "2", "a": "1"}, Immutable: new(true),
		}, wantSame: true},
		"empty binary data":      {of: &corev1.ConfigMap{Data: base.Data, BinaryData: map[string][]byte{}}, wantSame: true},
		"the same in a Secret":   {of: &corev1.Secret{Data: map[string][]byte{"a": []byte("1"), "b": []byte("2")}}, wantSame: true},
		"another value":          {of: &corev1.ConfigMap{Data: map[string]string{"a": "1", "b": "3"}}},
		"another key":            {of: &corev1.ConfigMap{Data: map[string]string{"a": "1", "c": "2"}}},
		"a key less":             {of: &corev1.ConfigMap{Data: map[string]string{"a": "1"}}},
		"the border moved":       {of: &corev1.ConfigMap{Data: map[string]string{"a": "12", "b": ""}}},
		"binary data":            {of: &corev1.ConfigMap{Data: base.Data, BinaryData: map[string][]byte{"c": nil}}},
		"moved into binary data": {of: &corev1.ConfigMap{Data: map[string]string{"a": "1"}, BinaryData: map[string][]byte{"b": []byte("2")}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, was := configHash(t, tc.of), configHash(t, base); (got == was) != tc.wantSame {
				t.Errorf("hash %s, was %s", got, was)
			}
		})
	}
	if _, _, err := configs.Hash(&corev1.Pod{}); err == nil {
		t.Error("a Pod has a hash")
	}
}

func TestTrackedRevision(t *testing.T) {
	if got := configs.Revision("s1-a", nil); got != "s1-a" {
		t.Errorf("without configs it is %s", got)
	}
	base := map[string]string{"configmap/a": "1", "secret/a": "2"}
	for name, other := range map[string]map[string]string{
		"none":       {},
		"one less":   {"configmap/a": "1"},
		"other hash": {"configmap/a": "1", "secret/a": "3"},
		"other kind": {"configmap/a": "2", "secret/a": "1"},
		"other name": {"configmap/a": "1", "secret/b": "2"},
	} {
		if configs.Revision("s1-a", base) == configs.Revision("s1-a", other) {
			t.Errorf("%s: the same revision", name)
		}
	}
	if got := configs.Revision("s1-a", maps.Clone(base)); got != configs.Revision("s1-a", base) || !strings.HasPrefix(got, "s1-a-") {
		t.Errorf("revision %s", got)
	}
}

func TestConfigCopy(t *testing.T) {
	meta := metav1.ObjectMeta{
		Namespace: "test", Name: "a", UID: "u", ResourceVersion: "7", Finalizers: []string{"x/y"},
		Labels: map[string]string{"team": "a", "other": "b", "app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "Helm"},
		Annotations: map[string]string{
			"team/mail": "a@example.com", "argocd.argoproj.io/tracking-id": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}",
		},
		OwnerReferences: []metav1.OwnerReference{{Kind: "SealedSecret", Name: "a"}},
	}
	want := metav1.ObjectMeta{
		Namespace: "test", Name: "a-primary",
		Labels:      map[string]string{"team": "a", "app.kubernetes.io/managed-by": "sluice", "sluice.dev/canary": "release"},
		Annotations: map[string]string{"team/mail": "a@example.com", "sluice.dev/canary": "release"},
	}
	all := want
	all.Labels = map[string]string{"team": "a", "other": "b", "app.kubernetes.io/managed-by": "sluice", "sluice.dev/canary": "release"}
	text, binary := map[string]string{"k": "v"}, map[string][]byte{"b": {0xff}}
	team := workload.Options{IncludeLabelPrefixes: []string{"team"}}
	for name, tc := range map[string]struct {
		source  client.Object
		options workload.Options
		want    client.Object
	}{
		"ConfigMap": {
			source:  &corev1.ConfigMap{ObjectMeta: meta, Data: text, BinaryData: binary, Immutable: new(true)},
			options: team,
			want:    &corev1.ConfigMap{ObjectMeta: want, Data: text, BinaryData: binary},
		},
		"Secret": {
			source:  &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeTLS, Data: binary, Immutable: new(true)},
			options: team,
			want:    &corev1.Secret{ObjectMeta: want, Type: corev1.SecretTypeTLS, Data: binary},
		},
		"pain 11: another tool's tracking stays behind": {
			source:  &corev1.ConfigMap{ObjectMeta: meta, Data: text},
			options: workload.Options{IncludeLabelPrefixes: []string{"*"}},
			want:    &corev1.ConfigMap{ObjectMeta: all, Data: text},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := configs.Copy(&owner, tc.source, "a-primary", tc.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if configHash(t, got) != configHash(t, tc.source) {
				t.Error("the copy has another hash")
			}
		})
	}
	if _, err := configs.Copy(&owner, &corev1.Pod{}, "a", team); err == nil {
		t.Error("a Pod was copied")
	}
}

func TestConfigPatch(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "test", Name: "a-primary", UID: "u", ResourceVersion: "7", Labels: map[string]string{"mine": "x"}}
	for name, tc := range map[string]struct{ source, live, want client.Object }{
		"ConfigMap": {
			source: &corev1.ConfigMap{Data: map[string]string{"a": "2"}},
			live:   &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "1", "gone": "x"}, BinaryData: map[string][]byte{"gone": {1}}},
			want:   &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "2"}},
		},
		"emptied": {
			source: &corev1.ConfigMap{BinaryData: map[string][]byte{"b": {2}}},
			live:   &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "1"}},
			want:   &corev1.ConfigMap{ObjectMeta: meta, BinaryData: map[string][]byte{"b": {2}}},
		},
		"Secret": {
			source: &corev1.Secret{Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"a": []byte("2")}},
			live:   &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"a": []byte("1"), "gone": nil}},
			want:   &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"a": []byte("2")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			patch, err := configs.Patch(tc.source, "u", "7")
			if err != nil {
				t.Fatal(err)
			}
			server := fakeclient.NewClientBuilder().WithObjects(tc.live).Build()
			got := tc.live.DeepCopyObject().(client.Object)
			if err := server.Patch(t.Context(), got, client.RawPatch(types.JSONPatchType, patch)); err != nil {
				t.Fatal(err)
			}
			if got.GetResourceVersion() != "8" {
				t.Errorf("version %s", got.GetResourceVersion())
			}
			got.SetResourceVersion("7")
			if err := server.Patch(t.Context(), got, client.RawPatch(types.JSONPatchType, patch)); !apierrors.IsConflict(err) {
				t.Errorf("of a newer version: error %v", err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	if _, err := configs.Patch(&corev1.Pod{}, "u", "7"); err == nil {
		t.Error("a patch from a Pod")
	}
}

func TestUseCopies(t *testing.T) {
	template := func(config, image, mark string) *corev1.PodTemplateSpec {
		out := &corev1.PodTemplateSpec{}
		out.Spec.InitContainers = []corev1.Container{{Image: image}}
		places["volume, ConfigMap"].add(&out.Spec, config, nil)
		if mark != "" {
			out.Annotations = map[string]string{configs.Annotation: mark}
		}
		return out
	}
	names := map[configs.Ref]string{{Kind: configs.ConfigMap, Name: "a"}: "a-primary"}
	for name, tc := range map[string]struct {
		live    *corev1.PodTemplateSpec
		hash    string
		carried bool
		want    *corev1.PodTemplateSpec
	}{
		"nothing tracked":                     {want: template("a", "v1", "")},
		"the first primary":                   {hash: "h", want: template("a-primary", "v1", "h")},
		"a promotion of the config":           {live: template("a-primary", "v1", "g"), hash: "h", want: template("a-primary", "v1", "h")},
		"a promotion of what Flagger left":    {live: template("a-primary", "v1", ""), hash: "h", want: template("a-primary", "v1", "h")},
		"our own, at rest":                    {live: template("a-primary", "v1", "h"), hash: "h", carried: true, want: template("a-primary", "v1", "h")},
		"our own, edited by hand":             {live: template("a", "v1", "h"), hash: "h", carried: true, want: template("a-primary", "v1", "h")},
		"pain 7: Flagger's, at rest":          {live: template("a-primary", "v1", ""), hash: "h", carried: true, want: template("a-primary", "v1", "")},
		"pain 7: without a copy, at rest":     {live: template("a", "v1", ""), hash: "h", carried: true, want: template("a", "v1", "")},
		"Flagger's, with another one's copy":  {live: template("a-other-primary", "v1", ""), hash: "h", carried: true, want: template("a-primary", "v1", "h")},
		"Flagger's, edited by hand meanwhile": {live: template("a-primary", "v0", ""), hash: "h", carried: true, want: template("a-primary", "v1", "h")},
	} {
		t.Run(name, func(t *testing.T) {
			target := template("a", "v1", "")
			if diff := cmp.Diff(tc.want, configs.UseCopies(target, tc.live, names, tc.hash, tc.carried)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if diff := cmp.Diff(template("a", "v1", ""), target); diff != "" {
				t.Errorf("the argument was changed:\n%s", diff)
			}
		})
	}
}

// A release is a config's where nothing else has changed since the last one.
func TestChanged(t *testing.T) {
	was := map[string]string{"configmap/a": "1", "secret/b": "1"}
	released := configs.Revision("template", was)
	for name, tc := range map[string]struct {
		revision string
		tracked  map[string]string
		status   v1beta1.CanaryStatus
		want     []string
	}{
		"nothing":                {"template", was, v1beta1.CanaryStatus{LastAppliedSpec: released, TrackedConfigs: &was}, nil},
		"one":                    {"template", map[string]string{"configmap/a": "2", "secret/b": "1"}, v1beta1.CanaryStatus{LastAppliedSpec: released, TrackedConfigs: &was}, []string{"configmap/a"}},
		"both":                   {"template", map[string]string{"configmap/a": "2", "secret/b": "2"}, v1beta1.CanaryStatus{LastAppliedSpec: released, TrackedConfigs: &was}, []string{"configmap/a", "secret/b"}},
		"one is tracked no more": {"template", map[string]string{"configmap/a": "1"}, v1beta1.CanaryStatus{LastAppliedSpec: released, TrackedConfigs: &was}, []string{"secret/b"}},
		"the template too":       {"another", map[string]string{"configmap/a": "2", "secret/b": "1"}, v1beta1.CanaryStatus{LastAppliedSpec: released, TrackedConfigs: &was}, nil},
		"nothing was tracked":    {"template", was, v1beta1.CanaryStatus{LastAppliedSpec: "template"}, nil},
		"of another operator":    {"template", was, v1beta1.CanaryStatus{LastAppliedSpec: "flagger", TrackedConfigs: &was}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := configs.Changed(tc.revision, tc.tracked, &tc.status); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
