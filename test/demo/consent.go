package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// errNoTerminal is that nobody can be asked.
var errNoTerminal = errors.New("there is no terminal to ask at: set YES=1 to go on without a question")

// plan says where the demo is about to run and what it will make there.
func plan(out io.Writer, t *target, f *findings) {
	fmt.Fprintf(out, "Sluice demo, on a cluster of yours:\n\n  context  %s\n  server   %s, Kubernetes %s\n\n", t.context, t.server, f.version)
	fmt.Fprintf(out, "It makes there, and removes at its end and at Ctrl-C:\n\n"+
		"  Namespace %s, with podinfo in up to 4 pods, a client that calls it, their Services and a Canary\n", demoNamespace)
	if len(f.missing) > 0 {
		var names []string
		for _, crd := range f.missing {
			names = append(names, crd.Name)
		}
		fmt.Fprintf(out, "  CustomResourceDefinitions of the whole cluster, which has none of these yet:\n    %s\n", strings.Join(names, "\n    "))
	} else {
		fmt.Fprintln(out, "  no CustomResourceDefinitions: they are there, and stay as they are")
	}
	fmt.Fprintf(out, "\nIts nodes pull ghcr.io/stefanprodan/podinfo:6.0.0, 6.0.1 and 6.0.2. The operator, its dashboard and a Prometheus run on this\n"+
		"machine, with your rights, for that namespace only.\n\n")
	if f.provider == "istio" {
		fmt.Fprintf(out, "Istio is there: requests are divided by weight. The namespace gets the label %s, for sidecars.\n\n", f.injection)
	} else {
		fmt.Fprintf(out, "%s, and nothing else divides requests by weight: releases are blue/green, and a test calls the new version before\n"+
			"users do. Weights, and what a comparison finds: make demo without CLUSTER.\n\n", f.noMesh)
	}
}

// confirm has the user decide. What is no clear yes is a no.
func confirm(in io.Reader, out io.Writer) (bool, error) {
	if file, ok := in.(*os.File); ok && !term.IsTerminal(int(file.Fd())) {
		return false, errNoTerminal
	}
	fmt.Fprint(out, "Go on? [y/N] ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}
