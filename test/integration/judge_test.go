package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"testing"

	"github.com/sluice-delivery/sluice/test/cluster"
)

// judge is a program that answers what a mesh makes of objects: one JSON value for each that it reads.
type judge struct {
	in  io.Writer
	out *json.Decoder
}

// startJudge starts the program of that name, which ends with the test.
func startJudge(t *testing.T, name string) *judge {
	t.Helper()
	binary, err := cluster.Binary(name)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary) //nolint:noctx // it ends with its input
	complains := &bytes.Buffer{}
	command.Stderr = complains
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("%v: %s", err, complains)
		}
	})
	return &judge{in: in, out: json.NewDecoder(bufio.NewReader(out))}
}

// send has the judge answer.
func (j *judge) send(t *testing.T, question, answer any) {
	t.Helper()
	raw, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.in.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := j.out.Decode(answer); err != nil {
		t.Fatal(err)
	}
}
