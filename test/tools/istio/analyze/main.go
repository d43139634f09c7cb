// Command istio-analyze has Istio's own analysers, those of istioctl analyze,
// look at the objects of a cluster, and prints what they say as a JSON list.
//
//	istio-analyze -kubeconfig FILE [-namespace NAME]
//
// It exits with 1 when a message is an error or a warning, and with 2 when it could
// not look.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/diag"
	"istio.io/istio/pkg/config/analysis/local"
	"istio.io/istio/pkg/config/resource"
	"istio.io/istio/pkg/kube"
	istiolog "istio.io/istio/pkg/log"
)

const istioNamespace = "istio-system"

var errFound = errors.New("there are errors or warnings")

func main() {
	err := run(os.Args[1:], os.Stdout)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errFound):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "istio-analyze:", err)
		os.Exit(2)
	}
}

func run(args []string, out io.Writer) error {
	f := flag.NewFlagSet("istio-analyze", flag.ContinueOnError)
	kubeconfig := f.String("kubeconfig", "", "kubeconfig file of the cluster")
	namespace := f.String("namespace", "", "print messages on objects of this namespace and of the cluster only")
	timeout := f.Duration("timeout", time.Minute, "how long the analysis may take")
	if err := f.Parse(args); err != nil {
		return err
	}
	// Istio's packages log to the standard output, which is for the messages.
	logs := istiolog.DefaultOptions()
	logs.OutputPaths = []string{"stderr"}
	if err := istiolog.Configure(logs); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	messages, err := analyze(*kubeconfig, *namespace, *timeout)
	if err != nil {
		return err
	}
	return report(messages, out)
}

func analyze(kubeconfig, namespace string, timeout time.Duration) (diag.Messages, error) {
	client, err := kube.NewCLIClient(kube.BuildClientCmd(kubeconfig, ""))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	analyzer := local.NewIstiodAnalyzer(analyzers.AllCombined(), resource.Namespace(namespace), istioNamespace, nil)
	analyzer.AddRunningKubeSource(kube.EnableCrdWatcher(client))
	cancel := make(chan struct{})
	defer close(cancel)
	type outcome struct {
		result local.AnalysisResult
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := analyzer.Analyze(cancel)
		done <- outcome{result, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, fmt.Errorf("analyse: %w", o.err)
		}
		return o.result.Messages, nil
	case <-time.After(timeout):
		return nil, fmt.Errorf("the analysis took longer than %s", timeout)
	}
}

// report prints the messages; the error is errFound if one of them is worse than information.
func report(messages diag.Messages, out io.Writer) error {
	list, bad := make([]map[string]any, 0, len(messages)), false
	for i := range messages {
		list = append(list, messages[i].Unstructured(true))
		bad = bad || messages[i].Type.Level().IsWorseThanOrEqualTo(diag.Warning)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(list); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if bad {
		return errFound
	}
	return nil
}
