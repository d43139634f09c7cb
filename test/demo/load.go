package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// podClient is the client of the application that runs in a pod and says in its log what came of each request.
type podClient struct {
	clients kubernetes.Interface
	pod     string
}

// startedClient finds the client's pod, and returns when it has had an answer.
func startedClient(ctx context.Context, clients kubernetes.Interface, limit time.Duration) (*podClient, error) {
	c := &podClient{clients: clients}
	return c, rig.Await(ctx, "requests of the client", limit, func(ctx context.Context) error {
		pods, err := clients.CoreV1().Pods(demoNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=client"})
		if err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return errors.New("it has no pod")
		}
		c.pod = pods.Items[0].Name
		switch seen, err := c.Report(ctx); {
		case err != nil:
			return err
		case !seen.Started:
			return fmt.Errorf("no answer yet: %s", strings.Join(seen.Errors, "; "))
		}
		return nil
	})
}

// Report implements reporter.
func (c *podClient) Report(ctx context.Context) (cluster.Report, error) {
	log, err := c.clients.CoreV1().Pods(demoNamespace).GetLogs(c.pod, &corev1.PodLogOptions{Container: "client"}).DoRaw(ctx)
	if err != nil {
		return cluster.Report{}, fmt.Errorf("log of the client %s: %w", c.pod, err)
	}
	return reportOf(log), nil
}

// lately is of how many requests the latencies are that a report has: about ten seconds.
const lately = 80

// reportOf reads a client's log, in which a line is the status of a request, its seconds and the pod that answered. Requests
// count from the first that was answered. A last line that is not whole is no request yet.
func reportOf(log []byte) cluster.Report {
	report := cluster.Report{Tally: cluster.Tally{ByWorkload: map[string]cluster.Counts{}}}
	var took []float64
	whole := log[:bytes.LastIndexByte(log, '\n')+1]
	for lines := bufio.NewScanner(bytes.NewReader(whole)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		good := strings.HasPrefix(fields[0], "2")
		if report.Started = report.Started || good; !report.Started {
			report.Errors = []string{"status " + fields[0]}
			continue
		}
		workload := cluster.UnknownWorkload
		if good && len(fields) > 2 {
			workload = workloadOf(fields[2])
		}
		counts := report.ByWorkload[workload]
		report.Total++
		counts.Requests++
		if !good {
			report.Failed++
			counts.Failed++
			report.Errors = append(report.Errors, "status "+fields[0])
			report.Errors = report.Errors[max(0, len(report.Errors)-5):]
		}
		report.ByWorkload[workload] = counts
		if seconds, err := strconv.ParseFloat(fields[1], 64); err == nil {
			took = append(took, 1000*seconds)
		}
	}
	took = slices.Sorted(slices.Values(took[max(0, len(took)-lately):]))
	report.P50, report.P99 = quantile(took, 0.5), quantile(took, 0.99)
	return report
}

// workloadOf is the Deployment of a pod, by the pod's name.
func workloadOf(pod string) string {
	for _, name := range []string{rig.Name + "-primary", rig.Name} {
		if strings.HasPrefix(pod, name+"-") {
			return name
		}
	}
	return cluster.UnknownWorkload
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}
