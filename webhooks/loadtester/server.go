package loadtester

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"

	"k8s.io/utils/clock"
)

// maxBody is how many bytes a request may have.
const maxBody = 1 << 20

// busyRetrySeconds is after how long those who were told ErrBusy may ask again.
const busyRetrySeconds = "5"

// Server answers hooks.
type Server struct {
	// Rules say what may be run.
	Rules Rules
	// Runner runs it.
	Runner *Runner
	// Gates are those that people open and close.
	Gates *Gates
	// Namespaces are those whose Canaries are served; nil is all. As in Flagger, it is enough that a part of the name
	// matches.
	Namespaces *regexp.Regexp
	// Keys are those that calls are signed with.
	Keys Keys
	// Clock is asked for the age of signatures.
	Clock     clock.PassiveClock
	Log       *slog.Logger
	Telemetry *Telemetry
}

// Handler serves the paths of Flagger's load tester. Metrics are to be served beside it.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", always(http.StatusOK, "OK"))
	mux.HandleFunc("/gate/approve", always(http.StatusOK, "OK"))
	mux.HandleFunc("/gate/halt", always(http.StatusForbidden, "Forbidden"))
	for _, kind := range []GateKind{ConfirmGate, RollbackGate} {
		mux.Handle("POST /"+string(kind)+"/check", s.gate(kind, false, s.checkGate))
		mux.Handle("POST /"+string(kind)+"/open", s.gate(kind, true, s.openGate))
		mux.Handle("POST /"+string(kind)+"/close", s.gate(kind, true, s.closeGate))
	}
	mux.Handle("POST /{$}", s.receive(s.command))
	return mux
}

func always(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answer(w, status, text) }
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// refuse tells the caller, the log and the telemetry why a request is not served.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, reason refusal, err error) {
	s.Telemetry.refused.WithLabelValues(string(reason)).Inc()
	s.Log.Warn("Request refused", "path", r.URL.Path, "status", status, "reason", reason, "error", err, "from", r.RemoteAddr)
	answer(w, status, printable(err.Error()))
}

// receive reads a payload and hands it on where it is signed and of a namespace that is served.
func (s *Server) receive(next func(http.ResponseWriter, *http.Request, Payload)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			s.refuse(w, r, http.StatusRequestEntityTooLarge, refusedInvalid, fmt.Errorf("the payload has more than %d bytes", large.Limit))
			return
		case err != nil:
			s.refuse(w, r, http.StatusBadRequest, refusedInvalid, fmt.Errorf("the payload cannot be read: %w", err))
			return
		}
		p, err := parsePayload(body)
		if err != nil {
			s.refuse(w, r, http.StatusBadRequest, refusedInvalid, err)
			return
		}
		if !s.signed(w, r, body, &p) {
			return
		}
		if s.Namespaces != nil && !s.Namespaces.MatchString(p.Namespace) {
			s.refuse(w, r, http.StatusForbidden, refusedNamespace, fmt.Errorf("namespace %q is not served", p.Namespace))
			return
		}
		next(w, r, p)
	})
}

// signed tells whether a call may go on, notes whether it is known whose it is, and answers those that may not.
func (s *Server) signed(w http.ResponseWriter, r *http.Request, body []byte, p *Payload) bool {
	known, err := s.Keys.know(p.Namespace, r.Header.Get(SignatureHeader), body, s.Clock.Now())
	switch {
	case errors.Is(err, errKey):
		s.Log.Error("The key of signatures cannot be read", "error", err)
		answer(w, http.StatusInternalServerError, errKey.Error())
		return false
	case err != nil:
		s.refuse(w, r, http.StatusUnauthorized, refusedSignature, err)
		return false
	}
	p.known = known
	return true
}

// errUnknown tells who has not signed what more is for who has.
var errUnknown = errors.New("a call that is not signed may start hey and ghz and look at gates, and nothing else: " +
	"sign it (-hmac-key-file, -hmac-key-dir), open gates with \"sluice-loadtester gate\" in the pod, or allow all of it (-allow-unsigned)")

// gate serves a gate of the Canary that the payload names.
// Who opens and closes it must be known.
func (s *Server) gate(kind GateKind, onlyKnown bool, serve func(http.ResponseWriter, GateKind, Canary)) http.Handler {
	return s.receive(func(w http.ResponseWriter, r *http.Request, p Payload) {
		if p.Name == "" || p.Namespace == "" {
			s.refuse(w, r, http.StatusBadRequest, refusedInvalid, errors.New("the payload needs the name and the namespace of a Canary"))
			return
		}
		if onlyKnown && !p.known {
			s.refuse(w, r, http.StatusUnauthorized, refusedSignature, errUnknown)
			return
		}
		serve(w, kind, Canary{Namespace: p.Namespace, Name: p.Name})
	})
}

func (s *Server) checkGate(w http.ResponseWriter, kind GateKind, canary Canary) {
	open := s.Gates.IsOpen(kind, canary)
	s.Log.Debug("Gate asked", "gate", kind, "canary", canary.Name, "namespace", canary.Namespace, "open", open)
	if !open {
		answer(w, http.StatusForbidden, "Forbidden")
		return
	}
	answer(w, http.StatusOK, "Approved")
}

func (s *Server) openGate(w http.ResponseWriter, kind GateKind, canary Canary) {
	if err := s.Gates.Open(kind, canary); err != nil {
		s.Log.Error("Gate not opened", "gate", kind, "canary", canary.Name, "namespace", canary.Namespace, "error", err)
		answer(w, http.StatusInsufficientStorage, err.Error())
		return
	}
	s.Log.Info("Gate opened", "gate", kind, "canary", canary.Name, "namespace", canary.Namespace)
	w.WriteHeader(http.StatusAccepted)
}

func (s *Server) closeGate(w http.ResponseWriter, kind GateKind, canary Canary) {
	s.Gates.Close(kind, canary)
	s.Log.Info("Gate closed", "gate", kind, "canary", canary.Name, "namespace", canary.Namespace)
	w.WriteHeader(http.StatusAccepted)
}

// command runs what a hook asks for.
func (s *Server) command(w http.ResponseWriter, r *http.Request, p Payload) {
	c, err := s.Rules.Command(p.Metadata)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		s.refuse(w, r, http.StatusForbidden, refusedCommand, err)
		return
	case err != nil:
		s.refuse(w, r, http.StatusBadRequest, refusedInvalid, err)
		return
	}
	if !p.known && !c.harmless() {
		s.refuse(w, r, http.StatusUnauthorized, refusedSignature, errUnknown)
		return
	}
	canary := Canary{Namespace: p.Namespace, Name: p.Name}
	if c.Wait {
		s.wait(w, r, canary, c)
		return
	}
	started, err := s.Runner.Start(canary, c)
	if err != nil {
		s.notRun(w, r, err)
		return
	}
	if !started {
		s.Telemetry.skipped.WithLabelValues(c.Type).Inc()
		s.Log.Debug("Command is running already", "canary", canary.Name, "namespace", canary.Namespace, "program", c.Argv[0], "command", c.ID())
	}
	w.WriteHeader(http.StatusAccepted)
}

// wait answers when the command has ended.
func (s *Server) wait(w http.ResponseWriter, r *http.Request, canary Canary, c Command) {
	out, err := s.Runner.Run(r.Context(), canary, c)
	var ended *FailedError
	switch {
	case err == nil && c.ReturnOutput:
		answer(w, http.StatusOK, out)
	case err == nil:
		w.WriteHeader(http.StatusOK)
	case errors.As(err, &ended) && ended.TimedOut:
		answer(w, http.StatusGatewayTimeout, ended.Error())
	case errors.As(err, &ended):
		answer(w, http.StatusInternalServerError, ended.Error())
	default:
		s.notRun(w, r, err)
	}
}

// notRun answers that a command was not run, or not to its end.
func (s *Server) notRun(w http.ResponseWriter, r *http.Request, err error) {
	var missing *MissingProgramError
	switch {
	case errors.As(err, &missing):
		s.refuse(w, r, http.StatusNotImplemented, refusedMissing, err)
	case errors.Is(err, ErrBusy):
		w.Header().Set("Retry-After", busyRetrySeconds)
		s.refuse(w, r, http.StatusTooManyRequests, refusedBusy, err)
	case errors.Is(err, ErrStopping):
		s.refuse(w, r, http.StatusServiceUnavailable, refusedStopping, err)
	default: // the caller is gone and reads no answer
		answer(w, http.StatusServiceUnavailable, err.Error())
	}
}
