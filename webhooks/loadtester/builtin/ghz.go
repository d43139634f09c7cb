package builtin

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/bojand/ghz/printer"
	"github.com/bojand/ghz/runner"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	healthService = "grpc.health.v1.Health"
	// healthCall is made where no other call is named: what every server can be asked.
	healthCall = healthService + ".Check"
)

// ghzOptions are ghz's flags.
type ghzOptions struct {
	runner.Config
	data, metadata, reflectMetadata, importPaths, tags string
}

// ghz makes gRPC requests.
func ghz(ctx context.Context, args []string, limits Limits, stdout, stderr io.Writer) error {
	o, err := parseGhz(args, limits.AtOnce, stderr)
	if err != nil {
		return err
	}
	if err := o.prepare(limits.DataDir); err != nil {
		return err
	}
	if err := o.guard(ctx, limits); err != nil {
		return err
	}
	options := []runner.Option{runner.WithConfig(&o.Config)}
	if strings.HasPrefix(o.Call, healthService) {
		description, err := healthDescription()
		if err != nil {
			return err
		}
		options = append(options, runner.WithProtosetBinary(description))
	}
	config, err := runner.NewConfig(o.Call, o.Host, options...)
	if err != nil {
		return usagef("%v", err)
	}
	requester, err := runner.NewRequester(config)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { requester.Stop(runner.ReasonCancel) })()
	if limit := max(time.Duration(o.Z), time.Duration(o.X)); limit > 0 {
		defer time.AfterFunc(limit, func() { requester.Stop(runner.ReasonTimeout) }).Stop()
	}
	report, err := requester.Run()
	if err != nil {
		return err
	}
	p := printer.ReportPrinter{Out: stdout, Report: report}
	return p.Print(o.Format)
}

// guard refuses what may not be called: hosts and addresses, and ways to name a server that lead past them.
func (o *ghzOptions) guard(ctx context.Context, limits Limits) error {
	if limits.everywhere() && len(limits.Targets) == 0 {
		return nil
	}
	server := o.Host
	for _, scheme := range []string{"dns:///", "passthrough:///"} {
		server = strings.TrimPrefix(server, scheme)
	}
	host, port, err := net.SplitHostPort(server)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16) // unix:///a/socket has none
	} else if !strings.Contains(server, ":") { // it is that of HTTPS
		host, err = server, nil
	}
	if err != nil || strings.ContainsAny(host, "/@%") {
		return usagef("%q is not the host and port of a server", o.Host)
	}
	return limits.checkHost(ctx, host)
}

// healthDescription describes the health service, which saves its callers a proto file and its servers reflection.
func healthDescription() ([]byte, error) {
	return proto.Marshal(&descriptorpb.FileDescriptorSet{
		File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(grpc_health_v1.File_grpc_health_v1_health_proto)},
	})
}

func parseGhz(args []string, atOnce int, stderr io.Writer) (*ghzOptions, error) {
	o := &ghzOptions{}
	f := ghzFlags{flag.NewFlagSet("ghz", flag.ContinueOnError)}
	f.SetOutput(stderr)
	f.requests(o)
	f.connection(o)
	f.schedules(&o.Config)
	f.text(&o.Format, "summary", "summary, csv, json, pretty, html, influx-summary, influx-details or prometheus", "format", "O")
	f.number(new(uint), 0, "is accepted and does nothing: the container's limit counts", "cpus")
	// Options may come after the server, too.
	var servers []string
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		if f.NArg() == 0 {
			break
		}
		servers, args = append(servers, f.Arg(0)), f.Args()[1:]
	}
	if len(servers) != 1 {
		return nil, usagef("one server (host:port) is needed, not %d", len(servers))
	}
	if most := uint(atOnce); max(o.C, o.CStart, o.CEnd, o.Connections) > most {
		return nil, usagef("-c, --concurrency-start, --concurrency-end and --connections: %d is the most", most)
	}
	o.Host = servers[0]
	return o, nil
}

// ghzFlags defines flags by their long names and short ones.
type ghzFlags struct{ *flag.FlagSet }

func (f ghzFlags) text(p *string, value, usage string, names ...string) {
	for _, name := range names {
		f.StringVar(p, name, value, usage)
	}
}

func (f ghzFlags) flag(p *bool, usage string, names ...string) {
	for _, name := range names {
		f.BoolVar(p, name, false, usage)
	}
}

func (f ghzFlags) number(p *uint, value uint, usage string, names ...string) {
	for _, name := range names {
		f.UintVar(p, name, value, usage)
	}
}

func (f ghzFlags) span(p *runner.Duration, value time.Duration, usage string, names ...string) {
	for _, name := range names {
		f.DurationVar((*time.Duration)(p), name, value, usage)
	}
}

// requests are the flags about what is called, and how often.
func (f ghzFlags) requests(o *ghzOptions) {
	f.text(&o.Call, healthCall, "method, such as package.Service.Method", "call")
	f.text(&o.Proto, "", "proto file in the data folder; the server is asked without one", "proto")
	f.text(&o.Protoset, "", "compiled proto files in the data folder", "protoset")
	f.text(&o.importPaths, "", "folders in the data folder to import proto files from, comma separated", "import-paths", "i")
	f.text(&o.data, "", "message, or list of messages, in JSON", "data", "d")
	f.text(&o.DataPath, "", "file in the data folder with the message in JSON", "data-file", "D")
	f.text(&o.BinDataPath, "", "file in the data folder with the message as it is sent", "binary-file", "B")
	f.text(&o.metadata, "", "metadata of the requests in JSON", "metadata", "m")
	f.text(&o.MetadataPath, "", "file in the data folder with the metadata in JSON", "metadata-file", "M")
	f.text(&o.reflectMetadata, "", "metadata of the question for what the server knows, in JSON", "reflect-metadata")
	f.number(&o.N, 200, "number of requests", "total", "n")
	f.number(&o.C, 50, "requests at once", "concurrency", "c")
	f.number(&o.RPS, 0, "requests a second; 0 for no limit", "rps", "r", "qps", "q")
	f.span(&o.Z, 0, "make requests for that long, instead of -n", "duration", "z")
	f.span(&o.X, 0, "make requests for that long at most", "max-duration", "x")
	f.text(&o.ZStop, "close", "what becomes of requests under way at the end of -z: close, wait or ignore", "duration-stop")
	f.span(&o.Timeout, 20*time.Second, "how long a request may take", "timeout", "t")
	f.number(&o.SkipFirst, 0, "requests at the beginning that the report leaves out", "skipFirst")
	f.flag(&o.CountErrors, "count failed requests in the report, too", "count-errors")
	f.flag(&o.Async, "do not wait for an answer before the next request", "async")
	f.span(&o.SI, 0, "time between the messages of a stream", "stream-interval")
	f.span(&o.StreamCallDuration, 0, "time after which a stream is closed", "stream-call-duration")
	f.number(&o.StreamCallCount, 0, "messages after which a stream is closed", "stream-call-count")
	f.flag(&o.StreamDynamicMessages, "make each message of a stream anew", "stream-dynamic-messages")
	f.flag(&o.DisableTemplateFuncs, "no functions in the templates of messages", "disable-template-functions")
	f.flag(&o.DisableTemplateData, "no templates in messages", "disable-template-data")
	f.text(&o.Name, "", "name of the test in the report", "name")
	f.text(&o.tags, "", "tags of the report in JSON", "tags")
}

// connection are the flags about how the server is reached.
func (f ghzFlags) connection(o *ghzOptions) {
	f.flag(&o.Insecure, "no TLS", "insecure")
	f.flag(&o.SkipTLSVerify, "accept any certificate", "skipTLS")
	f.text(&o.RootCert, "", "file in the data folder with the authority's certificate", "cacert")
	f.text(&o.Cert, "", "file in the data folder with the client's certificate", "cert")
	f.text(&o.Key, "", "file in the data folder with the client's key", "key")
	f.text(&o.CName, "", "name that the server's certificate has to have", "cname")
	f.text(&o.Authority, "", "value of :authority, with -insecure", "authority")
	f.number(&o.Connections, 1, "connections", "connections")
	f.span(&o.DialTimeout, 10*time.Second, "how long a connection may take", "connect-timeout")
	f.span(&o.KeepaliveTime, 0, "time between pings", "keepalive")
	f.flag(&o.EnableCompression, "compress requests", "enable-compression", "e")
	f.text(&o.LBStrategy, "", "how requests are spread over the addresses of dns:///host:port", "lb-strategy")
	f.text(&o.MaxCallRecvMsgSize, "", "largest answer", "max-recv-message-size")
	f.text(&o.MaxCallSendMsgSize, "", "largest request", "max-send-message-size")
}

// schedules are the flags about loads that change over time.
func (f ghzFlags) schedules(c *runner.Config) {
	f.text(&c.LoadSchedule, runner.ScheduleConst, "how -rps changes: const, step or line", "load-schedule")
	f.number(&c.LoadStart, 0, "first requests a second", "load-start")
	f.number(&c.LoadEnd, 0, "last requests a second", "load-end")
	f.IntVar(&c.LoadStep, "load-step", 0, "difference of a step, or in a second")
	f.span(&c.LoadStepDuration, 0, "time of a step", "load-step-duration")
	f.span(&c.LoadMaxDuration, 0, "time after which the load no longer changes", "load-max-duration")
	f.text(&c.CSchedule, runner.ScheduleConst, "how -concurrency changes: const, step or line", "concurrency-schedule")
	f.number(&c.CStart, 0, "first requests at once", "concurrency-start")
	f.number(&c.CEnd, 0, "last requests at once", "concurrency-end")
	f.IntVar(&c.CStep, "concurrency-step", 1, "difference of a step, or in a second")
	f.span(&c.CStepDuration, 0, "time of a step", "concurrency-step-duration")
	f.span(&c.CMaxDuration, 0, "time after which the concurrency no longer changes", "concurrency-max-duration")
}

// prepare reads what is JSON and finds what is a file.
func (o *ghzOptions) prepare(dataDir string) error {
	if o.Call == "" {
		o.Call = healthCall
	}
	if strings.HasPrefix(o.Call, healthService) { // its description is at hand
		o.Proto, o.Protoset = "", ""
	}
	for name, p := range map[string]struct {
		text string
		into any
	}{
		"metadata": {o.metadata, &o.Metadata}, "reflect-metadata": {o.reflectMetadata, &o.ReflectMetadata},
		"tags": {o.tags, &o.Tags}, "data": {o.data, &o.Data},
	} {
		if p.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(p.text), p.into); err != nil {
			return usagef("--%s: %v", name, err)
		}
	}
	if text, ok := o.Data.(string); ok {
		return usagef("--data: %q is neither a message nor a list of messages", text)
	}
	if o.importPaths != "" {
		o.ImportPaths = strings.Split(o.importPaths, ",")
	}
	files := []*string{&o.Proto, &o.Protoset, &o.DataPath, &o.BinDataPath, &o.MetadataPath, &o.RootCert, &o.Cert, &o.Key}
	for i := range o.ImportPaths {
		files = append(files, &o.ImportPaths[i])
	}
	for _, p := range files {
		if *p == "" {
			continue
		}
		path, err := file(dataDir, *p)
		if err != nil {
			return err
		}
		*p = path
	}
	if o.Z > 0 && o.X > 0 {
		return fmt.Errorf("-z and -x cannot both be given")
	}
	return nil
}
