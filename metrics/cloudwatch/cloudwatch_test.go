package cloudwatch

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/metricstest"
)

const query = `[
  {"Id": "e1", "Expression": "m1 / m2", "Label": "ErrorRate"},
  {"Id": "m1", "MetricStat": {"Metric": {"Namespace": "Shop", "MetricName": "ErrorCount",
    "Dimensions": [{"Name": "app", "Value": "a"}]}, "Period": 60, "Stat": "Sum", "Unit": "Count"}, "ReturnData": false},
  {"Id": "m2", "MetricStat": {"Metric": {"Namespace": "Shop", "MetricName": "RequestCount"}, "Period": 60, "Stat": "Sum"}, "ReturnData": false}
]`

// The protocol is https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html.
var protocol = map[string]string{"Content-Type": "application/cbor", "Smithy-Protocol": "rpc-v2-cbor"}

func encoded(status int, v any) metricstest.Answer {
	raw, err := cbor.Marshal(v)
	if err != nil {
		panic(err)
	}
	return metricstest.Answer{Status: status, Header: protocol, Body: string(raw)}
}

type object = map[string]any

func result(id, status string, values ...float64) object {
	times := make([]any, len(values))
	for i := range values {
		times[i] = cbor.Tag{Number: 1, Content: float64(1767225540 - 60*i)}
	}
	if values == nil {
		values = []float64{}
	}
	return object{"Id": id, "Label": "ErrorRate", "StatusCode": status, "Timestamps": times, "Values": values}
}

// data is an answer in the form of
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html.
func data(results ...object) metricstest.Answer {
	if results == nil {
		results = []object{}
	}
	return encoded(200, object{"MetricDataResults": results, "Messages": []any{}})
}

func failure(status int, code, message string) metricstest.Answer {
	return encoded(status, object{"__type": "com.amazonaws.cloudwatch#" + code, "message": message})
}

var secret = map[string][]byte{
	"aws_access_key_id":     []byte("AKIAIOSFODNN7EXAMPLE"),
	"aws_secret_access_key": []byte("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
	"aws_session_token":     []byte("IQoJb3JpZ2luX2VjEXAMPLE"),
}

func TestProvider(t *testing.T) {
	with := func(r object, code, message string) object {
		r["Messages"] = []object{{"Code": code, "Value": message}}
		return r
	}
	metricstest.Run(t, metricstest.Suite{
		New: New,
		Config: metrics.Config{Type: "cloudwatch", Region: "eu-central-1", Secret: secret,
			Clock: clocktesting.NewFakePassiveClock(time.Unix(1767225630, 0))},
		Required:     []string{"aws_secret_access_key"},
		Query:        metrics.Query{Expr: query, Interval: 2 * time.Minute},
		Value:        data(result("e1", "Complete", 12.5, 9)),
		Empty:        data(result("e1", "Complete")),
		Several:      data(result("m1", "Complete", 1), result("m2", "Complete", 2)),
		Refused:      failure(400, "ValidationError", "Error in expression 'e1': Unsupported operand"),
		Unauthorized: failure(403, "InvalidClientTokenId", "The security token included in the request is invalid."),
		RateLimited:  failure(400, "Throttling", "Rate exceeded"),
		Cases: map[string]metricstest.Case{
			"no result": {Answer: data(), WantErr: metrics.IsNoData},
			"partial":   {Answer: data(result("e1", "PartialData", 7)), Want: 7},
			"division by 0": {Answer: data(with(result("e1", "Complete"), "ArithmeticError", "One or more data-points have been dropped due to non-numeric values")),
				WantErr: metrics.IsNoData, WantMessage: "have been dropped"},
			"other account":    {Answer: data(with(result("e1", "Forbidden"), "Forbidden", "no access to the metrics of 1234")), WantErr: metrics.IsUnavailable, WantMessage: "refused the credentials (403): no access"},
			"fails inside":     {Answer: data(with(result("e1", "InternalError"), "InternalError", "try again")), WantErr: metrics.IsUnavailable, WantMessage: "internal error: try again"},
			"no permission":    {Answer: failure(403, "AccessDenied", "User: arn:aws:iam::1:user/x is not authorized to perform: cloudwatch:GetMetricData"), WantErr: metrics.IsUnavailable, WantMessage: "cloudwatch:GetMetricData"},
			"internal failure": {Answer: failure(500, "InternalServiceError", "oops"), WantErr: metrics.IsUnavailable, WantMessage: "oops"},
			"says why":         {Answer: failure(400, "ValidationError", "Duplicate id e1"), WantErr: metrics.IsQueryError, WantMessage: "ValidationError: Duplicate id e1"},
		},
		Request: func(t *testing.T, r *http.Request, body string) {
			var sent struct {
				StartTime, EndTime time.Time
				ScanBy             string
				MetricDataQueries  []struct {
					ID         string `cbor:"Id"`
					Expression string
					ReturnData *bool
					MetricStat struct {
						Period int
						Stat   string
						Metric struct {
							Namespace  string
							Dimensions []struct{ Name, Value string }
						}
					}
				}
			}
			if err := cbor.Unmarshal([]byte(body), &sent); err != nil {
				t.Fatal(err)
			}
			if sent.EndTime.Unix() != 1767225600 || sent.StartTime.Unix() != 1767225600-1200 || sent.ScanBy != "TimestampDescending" || len(sent.MetricDataQueries) != 3 {
				t.Fatalf("sent %+v", sent)
			}
			first, second := sent.MetricDataQueries[0], sent.MetricDataQueries[1]
			if first.Expression != "m1 / m2" || first.ReturnData != nil || *second.ReturnData || second.MetricStat.Period != 60 ||
				second.MetricStat.Metric.Namespace != "Shop" || second.MetricStat.Metric.Dimensions[0].Value != "a" {
				t.Errorf("sent %+v", sent)
			}
			authorization := r.Header.Get("Authorization")
			if !strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/") || !strings.Contains(authorization, "/eu-central-1/monitoring/aws4_request") ||
				r.Header.Get("X-Amz-Security-Token") != "IQoJb3JpZ2luX2VjEXAMPLE" {
				t.Errorf("signed %s", authorization)
			}
			if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/operation/GetMetricData") {
				t.Errorf("%s %s", r.Method, r.URL)
			}
		},
	})
}

func TestConfiguration(t *testing.T) {
	for name, tc := range map[string]struct {
		config    metrics.Config
		wantField string
	}{
		"own identity":            {metrics.Config{Region: "eu-central-1"}, ""},
		"private endpoint":        {metrics.Config{Region: "eu-central-1", Address: "https://vpce-1.monitoring.eu-central-1.vpce.amazonaws.com"}, ""},
		"no region":               {metrics.Config{}, "region"},
		"own identity, customer":  {metrics.Config{Region: "eu-central-1", Address: "https://x.execute-api.eu-central-1.amazonaws.com"}, "address"},
		"own identity, bucket":    {metrics.Config{Region: "eu-central-1", Address: "https://monitoring.s3.eu-central-1.amazonaws.com"}, "address"},
		"own identity, region":    {metrics.Config{Region: "eu-central-1", Address: "https://monitoring.us-east-1.amazonaws.com"}, "address"},
		"own identity, not lent":  {metrics.Config{Region: "eu-central-1", NoOwnIdentity: true}, "secret"},
		"own identity elsewhere":  {metrics.Config{Region: "eu-central-1", Address: "https://evil.test"}, "address"},
		"own identity, not TLS":   {metrics.Config{Region: "eu-central-1", Address: "http://monitoring.eu-central-1.amazonaws.com"}, "address"},
		"own identity, odd name":  {metrics.Config{Region: "eu-central-1", Address: "https://evilamazonaws.com"}, "address"},
		"key elsewhere":           {metrics.Config{Region: "eu-central-1", Address: "http://localstack:4566", Secret: secret}, ""},
		"region that is a server": {metrics.Config{Region: "x.evil.test/"}, "region"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tc.config)
			var wrong *metrics.ConfigError
			if tc.wantField == "" && err != nil || tc.wantField != "" && (!errors.As(err, &wrong) || wrong.Field != tc.wantField) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestQueryFormat(t *testing.T) {
	p, err := New(metrics.Config{Region: "eu-central-1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, expr := range []string{"", "SELECT AVG(x)", "{}", "[]", `[{"Id": 3}]`} {
		if _, err := p.Query(t.Context(), metrics.Query{Expr: expr}); !metrics.IsQueryError(err) || !strings.Contains(err.Error(), "JSON list of MetricDataQueries") {
			t.Errorf("%q: error %v", expr, err)
		}
	}
}

// TestNoIdentity runs where no identity is to be had.
func TestNoIdentity(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/does/not/exist")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/does/not/exist")
	p, err := New(metrics.Config{Region: "eu-central-1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Query(t.Context(), metrics.Query{Expr: query})
	if !metrics.IsUnavailable(err) || !strings.Contains(err.Error(), "no identity of AWS") {
		t.Errorf("error %v", err)
	}
}
