package cluster

import (
	"os"
	"time"
)

// Program is a program that a test runs beside the cluster's servers, such as
// the operator. It ends with the cluster.
type Program struct {
	cluster *Cluster // nil where it is beside none
	process *process
}

// StartProgram starts argv inside the cluster's network with env added to this
// program's environment. Its output goes to a file of its name.
func (c *Cluster) StartProgram(name string, env []string, argv ...string) (*Program, error) {
	p, err := c.run(name, env, argv...)
	if err != nil {
		return nil, err
	}
	return &Program{cluster: c, process: p}, nil
}

// Launch starts argv beside no cluster, in the network of this program and with its environment added to by env. Its output
// goes to log. It ends with this program, however that ends, and by Stop.
func Launch(name, log string, env []string, argv ...string) (*Program, error) {
	p, err := startProcess(name, log, append(os.Environ(), env...), argv...)
	if err != nil {
		return nil, err
	}
	return &Program{process: p}, nil
}

// Err returns nil while the program runs, and then an error with the end of
// its log.
func (p *Program) Err() error { return p.process.exited() }

// Pid is the program's process, on this machine and in the cluster's network alike.
func (p *Program) Pid() int { return p.process.pid }

// Ended is closed once the program has ended.
func (p *Program) Ended() <-chan struct{} { return p.process.done }

// Log is the file that the program's output goes to.
func (p *Program) Log() string { return p.process.log }

// Stop asks the program to end, and ends it after grace; with 0 it is killed
// at once, as by kill -9.
func (p *Program) Stop(grace time.Duration) {
	if p.cluster != nil {
		p.cluster.forget(p.process)
	}
	p.process.stop(grace)
}
