package inmemory

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// stored is an object, or what a manager has applied last, in a file.
type stored struct {
	Collection string
	Namespace  string
	Name       string
	By         string // the manager, "" for an object
	Raw        json.RawMessage
}

// Save writes all that there is into a file, from which Load makes it again. It is so many copies of a fleet.
func (s *Server) Save(file string, copies int) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	zipped, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	out := json.NewEncoder(zipped)
	out.SetEscapeHTML(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	err = out.Encode(stored{Name: strconv.Itoa(copies)})
	for path, c := range s.collections {
		for of, o := range c.objects {
			err = errors.Join(err, out.Encode(stored{path, of.namespace, of.name, "", o.raw}))
		}
		for of, raw := range c.applied {
			err = errors.Join(err, out.Encode(stored{path, of.namespace, of.name.name, of.by, raw}))
		}
	}
	return errors.Join(err, zipped.Close(), f.Close())
}

// Load has the server have what was saved in a file, and so many copies of it in all, each in other namespaces: those that
// begin with original begin with what copied gives. A file that has as many already is taken as it is.
func (s *Server) Load(file, original string, copies int, copied func(int) string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return err
	}
	in := json.NewDecoder(unzipped)
	for {
		var o stored
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if o.Collection == "" {
			switch saved, err := strconv.Atoi(o.Name); {
			case err != nil:
				return fmt.Errorf("%s: %w", file, err)
			case saved == copies:
				copies = 1
			case saved != 1:
				return fmt.Errorf("%s has %d copies, and not one or %d", file, saved, copies)
			}
			continue
		}
		for i := range copies {
			if err := s.load(o, i, original, copied(i)); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.collections {
		c.dropped = s.version
	}
	return nil
}

func (s *Server) load(o stored, i int, from, to string) error {
	c := s.collections[o.Collection]
	if c == nil {
		return fmt.Errorf("there is no kind %s", o.Collection)
	}
	raw := []byte(o.Raw)
	if i > 0 {
		raw = bytes.ReplaceAll(raw, []byte(from), []byte(to))
		raw = bytes.ReplaceAll(raw, []byte(firstUID), []byte(firstUID[:4]+fmt.Sprintf("%04x", i)))
		o.Namespace = string(bytes.ReplaceAll([]byte(o.Namespace), []byte(from), []byte(to)))
		o.Name = string(bytes.ReplaceAll([]byte(o.Name), []byte(from), []byte(to)))
	}
	of := name{o.Namespace, o.Name}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.By != "" {
		c.applied[manager{of, o.By}] = raw
		return nil
	}
	is, err := decoded(raw)
	if err != nil {
		return err
	}
	meta := sub(is, "metadata")
	version, err := strconv.ParseInt(text(meta, "resourceVersion"), 10, 64)
	if err != nil {
		return err
	}
	s.version = max(s.version, version)
	c.objects[of] = &object{name: of, version: version, raw: raw, labels: labelsOf(meta)}
	s.controllers.read(c.kind.Resource, of, is)
	return nil
}
