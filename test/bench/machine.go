package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// ticks is how many of them /proc counts in a second.
const ticks = 100

// usage is what processes of one name in this network namespace have taken: seconds of CPU, and bytes of memory now.
type usage struct {
	cpu      float64
	resident int64
}

func usageOf(name string) (u usage) {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return u
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		text := string(raw)
		open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
		if open < 0 || end < 0 || text[open+1:end] != name {
			continue
		}
		if namespace, err := os.Readlink(filepath.Join(filepath.Dir(path), "ns", "net")); err != nil || namespace != own {
			continue
		}
		fields := strings.Fields(text[end+1:])
		for _, i := range []int{11, 12} { // utime, stime
			n, _ := strconv.ParseFloat(fields[i], 64) // the kernel writes a number
			u.cpu += n / ticks
		}
		pages, _ := strconv.ParseInt(fields[21], 10, 64)
		u.resident += pages * int64(os.Getpagesize())
	}
	return u
}

// busy is the share of the machine's processors that was at work since before.
func busy(before, after [2]float64) float64 {
	if after[1] <= before[1] {
		return 0
	}
	return (after[0] - before[0]) / (after[1] - before[1])
}

// machineTime is how long the machine's processors have worked, and how long they have been there.
func machineTime() (out [2]float64) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return out
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	for i, field := range strings.Fields(line) {
		if i == 0 || i > 8 {
			continue
		}
		n, _ := strconv.ParseFloat(field, 64)
		out[1] += n
		if i != 4 && i != 5 { // idle, and waiting for disks
			out[0] += n
		}
	}
	return out
}

// audit counts the operator's requests in the API server's audit log, which has nobody else's.
type audit struct {
	path   string
	offset int64
	counts map[string]int // by verb and resource
}

// read reads what has come.
func (a *audit) read() error {
	f, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(a.offset, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // the rest of a line comes the next time
		}
		if err != nil {
			return err
		}
		a.offset += int64(len(line))
		var e struct {
			Stage, Verb string
			ObjectRef   struct{ Resource, Subresource string }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		if e.Verb == "watch" || e.Stage != "ResponseComplete" || e.ObjectRef.Resource == "leases" || e.ObjectRef.Resource == "" {
			continue
		}
		what := e.Verb + " " + e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			what += "/" + e.ObjectRef.Subresource
		}
		a.counts[what]++
	}
}

// snapshot is what has been counted so far.
func (a *audit) snapshot() (map[string]int, error) {
	if a.counts == nil {
		a.counts = map[string]int{}
	}
	err := a.read()
	out := map[string]int{}
	for k, v := range a.counts {
		out[k] = v
	}
	return out, err
}

// road leads the operator to the API server, and can be closed.
type road struct {
	address string
	to      string

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]bool
}

func newRoad(to string) (*road, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &road{address: listener.Addr().String(), to: to, open: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go r.lead(c)
		}
	}()
	return r, nil
}

func (r *road) lead(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer to.Close()
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.open[from], r.open[to] = true, true
	r.mu.Unlock()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(way[1], way[0]) // the end of either is that of both
			ended <- struct{}{}
		}()
	}
	<-ended
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, from)
	delete(r.open, to)
}

// set closes the road, with all who are on it, or opens it.
func (r *road) set(closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = closed
	if closed {
		for c := range r.open {
			_ = c.Close()
		}
	}
}
