// Package inmemory is an API server that keeps its objects in memory, with as much of the rest of a cluster as
// applications need to be released: pods are ready as soon as they are wanted, and Services have endpoints.
//
// It is for what no API server with a store on a disk carries on a machine of two processors. Requests and answers are
// those of Kubernetes: lists that are streamed, in protobuf where a kind has it, with managed fields of the same size; and
// objects have what Kubernetes sets where a user sets nothing. It does not validate, has no admission, and takes
// server-side apply to own whole lists.
package inmemory

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// bookmarks is how often a watch is told which version it has come to.
const bookmarks = time.Minute

// Server is an API server.
type Server struct {
	scheme      *runtime.Scheme
	decoder     runtime.Decoder
	http        *httptest.Server
	controllers *controllers

	mu          sync.Mutex
	version     int64
	address     int // of the last Service
	collections map[string]*collection
	counts      map[string]map[string]int // requests by token, and by verb and resource
}

// Start starts a server of Kubernetes' own kinds and of others.
func Start(ctx context.Context, scheme *runtime.Scheme, others []Kind) *Server {
	s := &Server{
		scheme: scheme, decoder: serializer.NewCodecFactory(scheme).UniversalDeserializer(),
		collections: map[string]*collection{}, counts: map[string]map[string]int{},
	}
	for _, k := range append(builtin(), others...) {
		s.collections[k.Group+"/"+k.Resource] = &collection{
			kind: k, objects: map[name]*object{}, watchers: map[*watcher]bool{}, applied: map[manager][]byte{},
		}
	}
	s.controllers = newControllers(s)
	go s.controllers.run(ctx)
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	return s
}

// Stop ends all connections.
func (s *Server) Stop() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// Config is how somebody who has a token reaches the server. All may do everything.
func (s *Server) Config(token string) *rest.Config {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	return &rest.Config{Host: s.http.URL, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: ca}, QPS: -1}
}

// Requests are those of who has a token, by verb and resource, without watches and leases.
func (s *Server) Requests(token string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts[token])
}

func (s *Server) count(token, verb, resource, subresource string) {
	if verb == "watch" || resource == "leases" {
		return
	}
	if subresource != "" {
		resource += "/" + subresource
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts[token] == nil {
		s.counts[token] = map[string]int{}
	}
	s.counts[token][verb+" "+resource]++
}

// serve answers a request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case path[0] == "version":
		reply(w, http.StatusOK, map[string]string{"major": "1", "minor": "37", "gitVersion": "v1.37.2"})
	case path[0] == "api" && len(path) == 1:
		reply(w, http.StatusOK, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case path[0] == "apis" && len(path) == 1:
		reply(w, http.StatusOK, s.groups())
	case path[0] == "api" && len(path) == 2:
		reply(w, http.StatusOK, s.resources("", path[1]))
	case path[0] == "apis" && len(path) == 3:
		if list := s.resources(path[1], path[2]); len(list.APIResources) > 0 {
			reply(w, http.StatusOK, list)
			return
		}
		http.NotFound(w, r)
	case path[0] == "api" && len(path) > 2:
		s.resource(w, r, "", path[2:])
	case path[0] == "apis" && len(path) > 3:
		s.resource(w, r, path[1], path[3:])
	default:
		http.NotFound(w, r)
	}
}

func reply(w http.ResponseWriter, status int, o any) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(o) // who has gone reads no answer
}

func fail(w http.ResponseWriter, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	of := status.Status()
	of.Kind, of.APIVersion = "Status", "v1"
	reply(w, int(of.Code), of)
}

// resource answers a request for objects of a kind.
func (s *Server) resource(w http.ResponseWriter, r *http.Request, group string, path []string) {
	of := name{}
	if path[0] == "namespaces" && len(path) > 2 {
		of.namespace, path = path[1], path[2:]
	}
	c := s.collections[group+"/"+path[0]]
	if c == nil {
		http.NotFound(w, r)
		return
	}
	if len(path) > 1 {
		of.name = path[1]
	}
	subresource := ""
	if len(path) > 2 {
		subresource = path[2]
	}
	verb := verbOf(r, of)
	s.count(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), verb, path[0], subresource)
	switch verb {
	case "watch":
		s.stream(w, r, c, of.namespace)
	case "list":
		s.answerList(w, r, c, of.namespace)
	default:
		s.answerOne(w, r, c, of, verb, subresource)
	}
}

func verbOf(r *http.Request, of name) string {
	switch r.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	default:
	}
	switch watch := r.URL.Query().Get("watch"); {
	case watch == "true" || watch == "1":
		return "watch"
	case of.name == "":
		return "list"
	default:
		return "get"
	}
}

func (s *Server) answerOne(w http.ResponseWriter, r *http.Request, c *collection, of name, verb, subresource string) {
	status := http.StatusOK
	if verb == "create" {
		status = http.StatusCreated
	}
	o, err := s.one(r, c, of, verb, subresource)
	if err != nil {
		fail(w, err)
		return
	}
	f := formatOf(r.Header.Get("Accept"), c.kind)
	raw, err := s.encode(c.kind, o.raw, f)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", f.contentType())
	w.WriteHeader(status)
	_, _ = w.Write(raw) // who has gone reads no answer
}

// one carries out a request for one object.
func (s *Server) one(r *http.Request, c *collection, of name, verb, subresource string) (*object, error) {
	if verb == "get" {
		return s.get(c, of)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	by := query.Get("fieldManager")
	if by == "" {
		by, _, _ = strings.Cut(r.UserAgent(), "/")
	}
	i := intent{of: of, by: by, subresource: subresource, dry: query.Get("dryRun") != ""}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if verb == "patch" {
		if i.body, err = yaml.YAMLToJSON(body); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return s.patch(c, i, types.PatchType(media))
	}
	if verb == "delete" {
		return s.delete(c, of, body, media)
	}
	if i.body, err = s.asJSON(body, media); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	switch {
	case verb == "create" && isReview(c.kind):
		return reviewed(i.body)
	case verb == "create" && c.kind.Resource == "events":
		return &object{raw: i.body}, nil // nobody reads them
	case verb == "create":
		return s.create(c, i)
	default:
		return s.update(c, i)
	}
}

func (s *Server) delete(c *collection, of name, body []byte, media string) (*object, error) {
	var options metav1.DeleteOptions
	if len(body) > 0 {
		raw, err := s.asJSON(body, media)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if err := json.Unmarshal(raw, &options); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	return s.remove(c, of, options.Preconditions)
}

// asJSON is what a client has sent.
func (s *Server) asJSON(body []byte, media string) ([]byte, error) {
	if media != protoType {
		return body, nil
	}
	o, kind, err := s.decoder.Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(*kind)
	return json.Marshal(o)
}

func isReview(k Kind) bool { return strings.HasSuffix(k.Kind, "Review") }

// reviewed lets all do everything.
func reviewed(body []byte) (*object, error) {
	is, err := decoded(body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	is["status"] = fields{"allowed": true}
	raw, err := json.Marshal(is)
	return &object{raw: raw}, err
}

// selected tells which objects of a kind a request is about.
func selected(r *http.Request, namespace string) (func(*object) bool, error) {
	query := r.URL.Query()
	selector, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	only := ""
	if by := query.Get("fieldSelector"); by != "" {
		var ok bool
		if only, ok = strings.CutPrefix(by, "metadata.name="); !ok {
			return nil, apierrors.NewBadRequest("fieldSelector: " + by + " is not served here")
		}
	}
	return func(o *object) bool {
		return (namespace == "" || o.namespace == namespace) && (only == "" || o.name.name == only) && selector.Matches(o.labels)
	}, nil
}

func (s *Server) answerList(w http.ResponseWriter, r *http.Request, c *collection, namespace string) {
	is, err := selected(r, namespace)
	if err != nil {
		fail(w, err)
		return
	}
	all, version := s.list(c)
	var objects []*object
	for _, o := range all {
		if is(o) {
			objects = append(objects, o)
		}
	}
	f := formatOf(r.Header.Get("Accept"), c.kind)
	raw, err := s.encodeList(c.kind, objects, version, f)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", f.contentType())
	_, _ = w.Write(raw) // who has gone reads no answer
}

// stream serves a watch.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, c *collection, namespace string) {
	query := r.URL.Query()
	is, err := selected(r, namespace)
	if err != nil {
		fail(w, err)
		return
	}
	initial := query.Get("sendInitialEvents") == "true"
	events, of, version, err := s.watch(c, query.Get("resourceVersion"), initial)
	if err != nil {
		fail(w, err)
		return
	}
	defer s.ended(c, of)
	out := &stream{server: s, kind: c.kind, to: w, is: is, format: formatOf(r.Header.Get("Accept"), c.kind)}
	w.Header().Set("Content-Type", out.format.contentType()+";stream=watch")
	ends, marks := time.NewTimer(lasts(query.Get("timeoutSeconds"))), time.NewTicker(bookmarks)
	defer ends.Stop()
	defer marks.Stop()
	out.send(events)
	if initial {
		out.bookmark(version, true)
	}
	for out.err == nil {
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-of.more:
			events, _ = s.taken(of)
			out.send(events)
		case <-marks.C:
			// What came before the version is known is sent before it is said.
			events, version = s.taken(of)
			out.send(events)
			out.bookmark(version, false)
		case <-ends.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func lasts(seconds string) time.Duration {
	if n, err := strconv.Atoi(seconds); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	return time.Hour
}

// stream is a watch of one client. Nothing is sent after an error.
type stream struct {
	server *Server
	kind   Kind
	to     io.Writer
	is     func(*object) bool
	format format
	err    error
}

func (w *stream) send(events []*event) {
	for _, e := range events {
		kind, is := e.kind, w.is(e.object)
		if was := e.before != nil && w.is(e.before); e.kind == "MODIFIED" && was != is {
			if kind = "ADDED"; was {
				kind, is = "DELETED", true
			}
		}
		if !is || w.err != nil {
			continue
		}
		raw, err := w.server.frame(w.kind, e, kind, w.format)
		w.write(raw, err)
	}
}

func (w *stream) bookmark(version int64, ends bool) {
	if w.err == nil {
		w.write(w.server.bookmark(w.kind, version, ends, w.format))
	}
}

func (w *stream) write(raw []byte, err error) {
	if err == nil {
		_, err = w.to.Write(raw)
	}
	if err != nil {
		w.err = fmt.Errorf("watch of %s: %w", w.kind.Resource, err)
	}
}
