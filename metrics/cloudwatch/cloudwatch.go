// Package cloudwatch asks Amazon CloudWatch for metric data. It uses the AWS
// SDK: signatures, endpoints and the ways to get credentials are worth it.
package cloudwatch

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

const (
	accessKey    = "aws_access_key_id"
	secretKey    = "aws_secret_access_key"
	sessionToken = "aws_session_token"

	// windows is how many intervals a query looks back: a metric that is
	// reported rarely has no value in each of them.
	windows = 10
)

// Provider is a metrics.Provider over CloudWatch in one region.
type Provider struct {
	config metrics.Config
	clock  clock.PassiveClock
	// details makes the messages of the service fit to be repeated.
	details *httpjson.Client

	mu     sync.Mutex
	client *cloudwatch.Client
}

var _ metrics.Provider = (*Provider)(nil)

// New returns a provider for a region. The Secret may have aws_access_key_id,
// aws_secret_access_key and aws_session_token; without them the operator's own
// identity is used, at addresses of AWS only.
func New(c metrics.Config) (metrics.Provider, error) {
	if c.Region == "" {
		return nil, &metrics.ConfigError{Field: "region", Message: "a cloudwatch provider needs the region of the metrics, like eu-central-1"}
	}
	if !region.MatchString(c.Region) {
		return nil, &metrics.ConfigError{Field: "region", Message: fmt.Sprintf("%q is no name of a region", c.Region)}
	}
	own := len(c.Secret[accessKey]) > 0
	if own {
		if _, err := c.SecretValue(secretKey); err != nil {
			return nil, err
		}
	}
	if !own {
		if err := ownIdentity(c); err != nil {
			return nil, err
		}
	}
	details, err := httpjson.New(c, httpjson.Options{DefaultAddress: "https://monitoring." + c.Region + ".amazonaws.com"})
	if err != nil {
		return nil, err
	}
	return &Provider{config: c, clock: c.Time(), details: details}, nil
}

// ownIdentity says why the operator may not sign requests with its own identity.
func ownIdentity(c metrics.Config) error {
	switch {
	case c.NoOwnIdentity:
		return &metrics.ConfigError{Field: "secret", Message: "the Secret needs the keys " + accessKey + " and " + secretKey + ": the operator's -cloud-identity-namespaces does not lend its own identity to this namespace"}
	case !amazons(c.Address, c.Region):
		return &metrics.ConfigError{Field: "address", Message: "not the address of CloudWatch in " + c.Region + ", like https://monitoring." + c.Region + ".amazonaws.com: the Secret needs the key " + accessKey + " for another one"}
	}
	return nil
}

// region is what a name of a region looks like: it becomes part of a host name.
var region = regexp.MustCompile(`^[a-z0-9-]+$`)

// endpoint is a host that serves CloudWatch's metrics in a region, directly or by an endpoint of a private network:
// others below amazonaws.com are customers' own.
var endpoint = regexp.MustCompile(`^(vpce-[a-z0-9-]+\.)?monitoring(-fips)?\.([a-z0-9-]+)(\.vpce)?\.(amazonaws\.com|amazonaws\.com\.cn|api\.aws)$`)

func amazons(address, region string) bool {
	if address == "" {
		return true
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Port() != "" && u.Port() != "443" {
		return false
	}
	parts := endpoint.FindStringSubmatch(u.Hostname())
	return parts != nil && parts[3] == region
}

// connect returns the client. The operator's own identity is looked up when it
// is first needed, and again as long as that fails.
func (p *Provider) connect(ctx context.Context) (*cloudwatch.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil {
		return p.client, nil
	}
	found, err := p.identity(ctx)
	if err != nil {
		return nil, err
	}
	p.client = cloudwatch.New(cloudwatch.Options{
		Region:      p.config.Region,
		Credentials: found,
		// Not for the services that give credentials: what a template says of
		// certificates is for its own address.
		HTTPClient: httpjson.HTTPClient(p.config),
		// The analysis asks again; a retry here would eat the time-out.
		Retryer: aws.NopRetryer{},
	}, func(o *cloudwatch.Options) {
		if p.config.Address != "" {
			o.BaseEndpoint = aws.String(p.config.Address)
		}
	})
	return p.client, nil
}

func (p *Provider) identity(ctx context.Context) (aws.CredentialsProvider, error) {
	text := func(key string) string { return strings.TrimSpace(string(p.config.Secret[key])) }
	if text(accessKey) != "" {
		fixed := aws.Credentials{AccessKeyID: text(accessKey), SecretAccessKey: text(secretKey), SessionToken: text(sessionToken)}
		return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return fixed, nil }), nil
	}
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(p.config.Region))
	if err != nil {
		return nil, err
	}
	return loaded.Credentials, nil
}

// Query reads q.Expr as the JSON list of MetricDataQueries of
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
// and gives the newest value of the one that returns data, in the last ten
// intervals up to the last full minute.
func (p *Provider) Query(ctx context.Context, q metrics.Query) (metrics.Sample, error) {
	queries, err := parse(q)
	if err != nil {
		return metrics.Sample{}, err
	}
	timeout := q.Timeout
	if timeout <= 0 {
		timeout = httpjson.DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := p.connect(ctx)
	if err != nil {
		return metrics.Sample{}, p.classify(ctx, q, err)
	}
	end := p.clock.Now().Truncate(time.Minute)
	out, err := client.GetMetricData(ctx, &cloudwatch.GetMetricDataInput{
		MetricDataQueries: queries,
		StartTime:         aws.Time(end.Add(-windows * q.Window())),
		EndTime:           aws.Time(end),
		ScanBy:            types.ScanByTimestampDescending,
	})
	if err != nil {
		return metrics.Sample{}, p.classify(ctx, q, err)
	}
	if err := httpjson.One(q, len(out.MetricDataResults), "set ReturnData to false on the others"); err != nil {
		return metrics.Sample{}, err
	}
	return p.sampleOf(out.MetricDataResults[0])
}

// Check implements metrics.Checker.
func (p *Provider) Check(q metrics.Query) error {
	_, err := parse(q)
	return err
}

func parse(q metrics.Query) ([]types.MetricDataQuery, error) {
	var queries []types.MetricDataQuery
	if err := json.Unmarshal([]byte(q.Expr), &queries); err != nil || len(queries) == 0 {
		return nil, &metrics.QueryError{Expr: q.Expr, Message: "it is not a JSON list of MetricDataQueries"}
	}
	return queries, nil
}

func (p *Provider) sampleOf(r types.MetricDataResult) (metrics.Sample, error) {
	var message string
	if len(r.Messages) > 0 {
		message = p.details.Detail(aws.ToString(r.Messages[0].Value))
	}
	switch {
	case r.StatusCode == types.StatusCodeForbidden:
		return metrics.Sample{}, p.details.Refused(403, message)
	case r.StatusCode == types.StatusCodeInternalError:
		return metrics.Sample{}, &metrics.UnavailableError{Provider: p.details.Name(), Err: fmt.Errorf("internal error: %s", message)}
	case len(r.Values) == 0 && message != "":
		return metrics.Sample{}, fmt.Errorf("%w: %s", metrics.ErrNoData, message)
	case len(r.Values) == 0:
		return metrics.Sample{}, metrics.ErrNoData
	}
	return metrics.Sample{Value: r.Values[0]}, nil
}
