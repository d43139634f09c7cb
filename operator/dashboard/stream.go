package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleet"
)

// Bounds of streams.
const (
	// mostStreams is how many browsers may look at once.
	mostStreams = 500
	// gatherFor is how long changes are gathered before they are sent, so that many at once are one write.
	gatherFor = 250 * time.Millisecond
	// beatEvery is how often something is sent where nothing changes, so that what is between does not take a stream for
	// dead. It wakes nobody but the stream.
	beatEvery = 30 * time.Second
	// sendWithin is how long a browser may take for what is sent.
	sendWithin = 30 * time.Second
	// requestTimeout is how long the API server may take for one look.
	requestTimeout = 10 * time.Second
)

// errRightsChanged ends a stream: the browser begins anew with what its user may see now.
var errRightsChanged = errors.New("rights have changed")

// stream sends all releases, and then what changes, to one browser, as server-sent events.
func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	person, ok := s.person(w, r)
	if !ok {
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		fail(w, http.StatusServiceUnavailable, "Too many browsers look at the dashboard.")
		return
	}
	watcher := s.Fleet.Watch()
	defer watcher.Close()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // for proxies that gather answers
	out := &browser{server: s, person: person, out: bufio.NewWriterSize(w, 32<<10), control: http.NewResponseController(w), seen: map[string]bool{}}
	_ = out.control.SetReadDeadline(time.Time{}) // nothing more is read, for as long as it takes
	if err := out.all(r.Context(), watcher.Take()); err != nil {
		return
	}
	out.follow(r.Context(), watcher)
}

// browser is one that looks.
type browser struct {
	server  *server
	person  *access.Person
	out     *bufio.Writer
	control *http.ResponseController
	// seen are the namespaces that its user may see or not, as the browser was sent them.
	seen map[string]bool
}

// follow sends what changes until the browser goes or its rights do.
func (b *browser) follow(ctx context.Context, watcher *fleet.Watcher) {
	beat := b.server.Clock.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C():
			if b.send(": still here\n\n") != nil {
				return
			}
		case <-watcher.Changes():
			select {
			case <-ctx.Done():
				return
			case <-b.server.Clock.After(gatherFor):
			}
			if b.changes(ctx, watcher.Take()) != nil {
				return
			}
		}
	}
}

// rights has the API server say which of the namespaces the user may see. Where that is not what it was, it is an error.
func (b *browser) rights(ctx context.Context, frames []fleet.Frame) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var namespaces []string
	for i, f := range frames {
		if i == 0 || frames[i-1].Namespace != f.Namespace {
			namespaces = append(namespaces, f.Namespace)
		}
	}
	is, err := b.person.Seen(ctx, namespaces)
	if err != nil {
		return err
	}
	for n, sees := range is {
		if was, known := b.seen[n]; known && was != sees {
			return errRightsChanged
		}
		b.seen[n] = sees
	}
	return nil
}

// all sends the releases that there are.
func (b *browser) all(ctx context.Context, frames []fleet.Frame) error {
	if err := b.rights(ctx, frames); err != nil {
		return errors.Join(err, b.send("event: failed\ndata: "+quote(err.Error())+"\n\n"))
	}
	b.write("event: fleet\ndata: [")
	first := true
	for _, f := range frames {
		if !b.seen[f.Namespace] || f.Row == nil {
			continue
		}
		if !first {
			b.write(",")
		}
		first = false
		_, _ = b.out.Write(f.Row) // what fails is told by Flush
	}
	return b.send("]\n\n")
}

// changes sends the releases that have changed.
func (b *browser) changes(ctx context.Context, frames []fleet.Frame) error {
	if err := b.rights(ctx, frames); err != nil {
		return err
	}
	for _, f := range frames {
		switch {
		case !b.seen[f.Namespace]:
		case f.Row == nil:
			b.write("event: gone\ndata: {\"namespace\":" + quote(f.Namespace) + ",\"name\":" + quote(f.Name) + "}\n\n")
		default:
			b.write("event: row\ndata: ")
			_, _ = b.out.Write(f.Row) // what fails is told by Flush
			b.write("\n\n")
		}
	}
	return b.send("")
}

// write adds to what is sent next. What fails is told by send.
func (b *browser) write(s string) { _, _ = b.out.WriteString(s) }

// send sends what was written, and a text.
func (b *browser) send(s string) error {
	// Where there is no such deadline, as in a test, the browser may take as long as it likes.
	_ = b.control.SetWriteDeadline(b.server.Clock.Now().Add(sendWithin))
	b.write(s)
	if err := b.out.Flush(); err != nil {
		return err
	}
	return b.control.Flush()
}

// quote is a text as JSON.
func quote(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(raw)
}
