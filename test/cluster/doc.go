// Package cluster runs a real Kubernetes control plane, and on request a real
// Istio and Prometheus, as plain processes inside a network namespace of their
// own. It serves the integration and end-to-end tests and the demo: no
// container engine, no root where the kernel lets users make namespaces.
//
// A program calls [Enter] (tests: [Main]) first, which runs the program again
// inside the namespace, and then [Start]. A node inside the calling process
// plays scheduler and kubelet: every pod gets an address of its own from
// 10.244.0.0/16, and podinfo containers run as real servers on that address.
//
// Everything ends with the program that started it, however that one ends.
package cluster
