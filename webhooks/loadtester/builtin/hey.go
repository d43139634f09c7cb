package builtin

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/rakyll/hey/requester"
)

// heyAgent is what hey says it is, as servers may look for it.
const heyAgent = "hey/0.0.1"

// heyOptions are hey's flags.
type heyOptions struct {
	requester.Work
	method, body, bodyFile, accept, contentType, auth, host, agent, proxy string
	duration                                                              time.Duration
	headers                                                               headers
	target                                                                string
}

// headers is a flag that may be repeated.
type headers []string

func (h *headers) String() string     { return strings.Join(*h, ", ") }
func (h *headers) Set(v string) error { *h = append(*h, v); return nil }

// hey makes HTTP requests.
func hey(ctx context.Context, args []string, limits Limits, stdout, stderr io.Writer) error {
	o, err := parseHey(args, limits.AtOnce, stderr)
	if err != nil {
		return err
	}
	o.Writer = stdout
	if err := o.prepare(limits.DataDir); err != nil {
		return err
	}
	if err := o.guard(ctx, limits); err != nil {
		return err
	}
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	o.Init()
	defer context.AfterFunc(ctx, o.Stop)()
	o.Run()
	return nil
}

func parseHey(args []string, atOnce int, stderr io.Writer) (*heyOptions, error) {
	o := &heyOptions{}
	f := flag.NewFlagSet("hey", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.N, "n", 200, "number of requests")
	f.IntVar(&o.C, "c", 50, "requests at once; their number cannot be smaller")
	f.Float64Var(&o.QPS, "q", 0, "requests a second that each of -c makes at most; 0 for no limit")
	f.DurationVar(&o.duration, "z", 0, "make requests for that long, instead of -n")
	f.StringVar(&o.Output, "o", "", "csv for a line about each request; else a summary")
	f.StringVar(&o.method, "m", http.MethodGet, "method")
	f.Var(&o.headers, "H", `header, such as "Accept: text/html"; may be repeated`)
	f.IntVar(&o.Timeout, "t", 20, "seconds that a request may take; 0 for no limit")
	f.StringVar(&o.accept, "A", "", "value of the header Accept")
	f.StringVar(&o.body, "d", "", "body of the requests")
	f.StringVar(&o.bodyFile, "D", "", "file in the data folder with the body of the requests")
	f.StringVar(&o.contentType, "T", "text/html", "value of the header Content-Type")
	f.StringVar(&o.agent, "U", "", "beginning of the header User-Agent")
	f.StringVar(&o.auth, "a", "", "user:password, for basic authentication")
	f.StringVar(&o.proxy, "x", "", "URL of a proxy")
	f.BoolVar(&o.H2, "h2", false, "ask for HTTP/2")
	f.StringVar(&o.host, "host", "", "value of the header Host")
	f.BoolVar(&o.DisableCompression, "disable-compression", false, "do not ask for compressed answers")
	f.BoolVar(&o.DisableKeepAlives, "disable-keepalive", false, "make a connection for each request")
	f.BoolVar(&o.DisableRedirects, "disable-redirects", false, "do not follow redirects")
	f.Int("cpus", 0, "is accepted and does nothing: the container's limit counts")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() != 1 {
		return nil, usagef("one URL is needed after the options, not %d", f.NArg())
	}
	o.target = f.Arg(0)
	switch {
	case o.C < 1 || o.C > atOnce:
		return nil, usagef("-c: %d is not 1 to %d", o.C, atOnce)
	case o.duration > 0:
		o.N = math.MaxInt32
	case o.N < o.C:
		return nil, usagef("-n: %d is less than -c (%d)", o.N, o.C)
	}
	return o, nil
}

// guard refuses what may not be called. Redirects could lead there, and nothing of hey would notice.
func (o *heyOptions) guard(ctx context.Context, limits Limits) error {
	if limits.everywhere() && len(limits.Targets) == 0 {
		return nil
	}
	o.DisableRedirects = true
	if o.ProxyAddr != nil {
		if err := limits.checkHost(ctx, o.ProxyAddr.Hostname()); err != nil {
			return err
		}
	}
	return limits.checkHost(ctx, o.Request.URL.Hostname())
}

// prepare makes the request that is made again and again.
func (o *heyOptions) prepare(dataDir string) error {
	o.RequestBody = []byte(o.body)
	if o.bodyFile != "" {
		path, err := file(dataDir, o.bodyFile)
		if err != nil {
			return err
		}
		if o.RequestBody, err = os.ReadFile(path); err != nil {
			return err
		}
	}
	if o.proxy != "" {
		proxy, err := url.Parse(o.proxy)
		if err != nil {
			return usagef("-x: not a URL")
		}
		o.ProxyAddr = proxy
	}
	request, err := http.NewRequest(strings.ToUpper(o.method), o.target, http.NoBody)
	if err != nil {
		return usagef("no such request can be made: %v", err)
	}
	if request.URL.Scheme != "http" && request.URL.Scheme != "https" {
		return usagef("%q is not the URL of an HTTP server", o.target)
	}
	o.Request = request
	request.ContentLength = int64(len(o.RequestBody))
	if o.host != "" {
		request.Host = o.host
	}
	return o.setHeader(request)
}

func (o *heyOptions) setHeader(request *http.Request) error {
	header := request.Header
	header.Set("Content-Type", o.contentType)
	for _, h := range o.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return usagef("-H: a header is a name, a colon and a value")
		}
		header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if o.accept != "" {
		header.Set("Accept", o.accept)
	}
	if o.auth != "" {
		user, password, ok := strings.Cut(o.auth, ":")
		if !ok {
			return usagef("-a: a user, a colon and a password are needed")
		}
		request.SetBasicAuth(user, password)
	}
	agent := header.Get("User-Agent")
	if o.agent != "" {
		agent = o.agent
	}
	header.Set("User-Agent", strings.TrimSpace(fmt.Sprintf("%s %s", agent, heyAgent)))
	return nil
}
