package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
)

//go:embed static
var embedded embed.FS

// file is a file of the page, ready to be sent.
type file struct {
	raw, packed     []byte
	etag, mediaType string
}

// pages are the files of the page, by their paths.
type pages struct {
	files map[string]file
	// policy is the Content-Security-Policy: nothing but what comes from here, and the one import map of the page by its hash.
	policy string
}

var importMap = regexp.MustCompile(`(?s)<script type="importmap">(.*?)</script>`)

func loadPages() (*pages, error) {
	out := &pages{files: map[string]file{}}
	err := fs.WalkDir(embedded, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := embedded.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := pack(name, raw)
		if err != nil {
			return err
		}
		out.files["/"+strings.TrimPrefix(name, "static/")] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("files of the page: %w", err)
	}
	index := out.files["/index.html"]
	inline := importMap.FindSubmatch(index.raw)
	if inline == nil {
		return nil, fmt.Errorf("files of the page: index.html has no import map")
	}
	sum := sha256.Sum256(inline[1])
	out.policy = strings.Join([]string{
		"default-src 'none'", "script-src 'self' 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'", "style-src 'self'",
		"img-src 'self'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}, "; ")
	out.files["/"] = index
	return out, nil
}

func pack(name string, raw []byte) (file, error) {
	sum := sha256.Sum256(raw)
	f := file{raw: raw, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, mediaType: mime.TypeByExtension(path.Ext(name))}
	if f.mediaType == "" {
		f.mediaType = "text/plain; charset=utf-8"
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return f, err
	}
	if _, err := w.Write(raw); err != nil {
		return f, err
	}
	if err := w.Close(); err != nil {
		return f, err
	}
	if packed.Len() < len(raw)*9/10 {
		f.packed = packed.Bytes()
	}
	return f, nil
}

// ServeHTTP sends a file. Browsers keep it and ask whether it is still the same, so that a page is never half old.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := p.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.mediaType)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.etag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == f.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := f.raw
	if f.packed != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.packed
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // nobody is there to be told
	}
}
