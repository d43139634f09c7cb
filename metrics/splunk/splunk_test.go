package splunk

import (
	"net/http"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

// Events of https://dev.splunk.com/observability/docs/signalflow/messages/stream_messages_specification.
// The service writes their data over several lines.
const (
	start = "event: control-message\ndata: {\ndata:   \"event\" : \"STREAM_START\",\ndata:   \"timestampMs\" : 1767225600000\ndata: }\n\n" +
		"event: control-message\ndata: {\"event\":\"JOB_START\",\"handle\":\"ChkVxy0AEAA\",\"timestampMs\":1767225600000}\n\n" +
		": keep-alive\n\n" +
		"event: metadata\ndata: {\"properties\":{\"sf_metric\":\"_SF_COMP_\",\"sf_streamLabel\":\"A\"},\"tsId\":\"AAAA\"}\n\n" +
		"event: message\ndata: {\"logicalTimestampMs\":1767225600000,\"message\":{\"messageCode\":\"JOB_RUNNING_RESOLUTION\"}}\n\n"
	end = "event: control-message\ndata: {\"event\":\"END_OF_CHANNEL\",\"timestampMs\":1767225600000}\n\n"
)

func point(id, value string) string {
	return "event: data\ndata: {\ndata:   \"data\" : [ {\ndata:     \"tsId\" : \"" + id + "\",\ndata:     \"value\" : " + value +
		"\ndata:   } ],\ndata:   \"logicalTimestampMs\" : 1767225540000,\ndata:   \"maxDelayMs\" : 1000\ndata: }\n\n"
}

func stream(events string) metricstest.Answer {
	return metricstest.Answer{Header: map[string]string{"Content-Type": "text/event-stream"}, Body: events}
}

func TestProvider(t *testing.T) {
	const program = "data('latency', filter=filter('service', 'a')).max().publish()"
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "splunk", Clock: clocktesting.NewFakePassiveClock(time.Unix(1767225600, 0)),
			Secret: map[string][]byte{"sf_token_key": []byte("Zm9vYmFyYmF6cXV4")}},
		Required:      []string{"sf_token_key"},
		AddressNeeded: true,
		Query:         metrics.Query{Expr: program, Interval: time.Minute},
		Value:         stream(start + point("AAAA", "9") + point("AAAA", "12.5") + end),
		Empty:         stream(start + end),
		Several:       stream(start + point("AAAA", "1") + point("BBBB", "2") + end),
		Refused:       metricstest.Answer{Status: 400, Body: `{"code":400,"message":"Unexpected token at line 1, column 5","errorType":"PROGRAM_ERROR"}`},
		Unauthorized:  metricstest.Answer{Status: 401, Body: `{"code":401,"message":"Unauthorized"}`},
		RateLimited:   metricstest.Answer{Status: 429},
		Cases: map[string]metricstest.Case{
			"only gaps":      {Answer: stream(start + point("AAAA", "null") + end), WantErr: metrics.IsNoData},
			"gap at the end": {Answer: stream(start + point("AAAA", "9") + point("AAAA", "null") + end), Want: 9},
			"no empty line at the end": {Answer: stream(start + point("AAAA", "9") + "event: control-message\ndata: {\"event\":\"END_OF_CHANNEL\"}"),
				Want: 9},
			"carriage returns": {Answer: stream("event: data\r\ndata: {\"data\":[{\"tsId\":\"A\",\"value\":3}]}\r\n\r\n" + end), Want: 3},
			"stream breaks":    {Answer: stream(start + point("AAAA", "9")), WantErr: metrics.IsUnavailable, WantMessage: "not what its API sends"},
			"job fails": {Answer: stream(start + "event: control-message\ndata: {\"event\":\"CHANNEL_ABORT\",\"abortInfo\":{\"sf_job_abortState\":\"ABORTED\",\"sf_job_abortReason\":\"too many time series\"}}\n\n"),
				WantErr: metrics.IsUnavailable, WantMessage: "aborted the computation: too many time series"},
			"program is wrong": {Answer: stream("event: error\ndata: {\"error\":400,\"errors\":[{\"code\":\"ANALYTICS_PROGRAM_NAME_ERROR\",\"context\":{\"bindingName\":\"dta\"}}]}\n\n"),
				WantErr: metrics.IsQueryError, WantMessage: "the provider refused it: ANALYTICS_PROGRAM_NAME_ERROR: dta"},
		},
		Request: func(t *testing.T, r *http.Request, body string) {
			if r.Method != http.MethodPost || r.URL.Path != "/v2/signalflow/execute" || body != program || r.URL.Query().Get("immediate") != "true" ||
				r.URL.Query().Get("start") != "1767225000000" || r.URL.Query().Get("stop") != "1767225600000" {
				t.Errorf("%s %s %s", r.Method, r.URL, body)
			}
			if r.Header.Get("X-SF-Token") != "Zm9vYmFyYmF6cXV4" || r.Header.Get("Content-Type") != "text/plain" {
				t.Error("a header is missing")
			}
		},
	})
}

func TestAddress(t *testing.T) {
	for name, tc := range map[string]struct{ address, region, want string }{
		"API":         {"https://api.us1.signalfx.com", "", "https://stream.us1.signalfx.com"},
		"stream":      {"https://stream.us1.signalfx.com", "", "https://stream.us1.signalfx.com"},
		"web socket":  {"wss://stream.us1.signalfx.com", "", "https://stream.us1.signalfx.com"},
		"plain":       {"ws://api.test:8080", "", "http://stream.test:8080"},
		"only realm":  {"", "eu0", "https://stream.eu0.signalfx.com"},
		"own":         {"https://observability.corp", "eu0", "https://observability.corp"},
		"api in path": {"https://observability.corp/api.", "", "https://observability.corp"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(metrics.Config{Address: tc.address, Region: tc.region, Secret: map[string][]byte{"sf_token_key": []byte("token")}})
			if err != nil {
				t.Fatal(err)
			}
			if got := p.(*Provider).client.Name(); got != tc.want {
				t.Errorf("asks %s", got)
			}
		})
	}
}
