package services

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/operator/workload"
)

// packed are intents as they are remembered: a fifth of what they weigh as objects.
type packed struct {
	of      workload.Services // without the Services
	encoded [4]string         // empty for one that there is no intent for
}

// members are the Services of intents, which may be set by them.
func members(of *workload.Services) [4]**corev1.Service {
	return [4]**corev1.Service{&of.Primary, &of.Canary, &of.Apex, &of.Registration}
}

func pack(intents workload.Services) packed {
	p := packed{of: intents}
	for i, s := range members(&p.of) {
		if *s == nil {
			continue
		}
		raw, _ := (*s).Marshal() // it has room for all of it, so that nothing can fail
		p.encoded[i], *s = string(raw), nil
	}
	return p
}

// unpack gives the intents that were packed.
func (p packed) unpack() (workload.Services, error) {
	intents := p.of
	for i, s := range members(&intents) {
		if p.encoded[i] == "" {
			continue
		}
		*s = &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: workload.KindService}} // which is not encoded
		if err := (*s).Unmarshal([]byte(p.encoded[i])); err != nil {
			return intents, fmt.Errorf("unpack the intent for a Service: %w", err)
		}
	}
	return intents, nil
}
