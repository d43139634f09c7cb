package cloudwatch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/sluice-delivery/sluice/metrics"
)

// Codes of https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CommonErrors.html.
var (
	throttling = []string{"Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException"}
	denial     = []string{"AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired", "InvalidClientTokenId", "InvalidSignatureException",
		"SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "IncompleteSignature",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "AuthFailure", "RequestExpired"}
)

// classify sorts what the SDK returns into the errors of package metrics.
func (p *Provider) classify(ctx context.Context, q metrics.Query, err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return p.noAnswer(ctx, q, err)
	}
	code := p.details.Detail(api.ErrorCode())
	detail := code
	if message := p.details.Detail(api.ErrorMessage()); message != "" && message != code {
		detail += ": " + message
	}
	status := statusOf(err)
	switch {
	case oneOf(code, throttling) || status == http.StatusTooManyRequests:
		return &metrics.UnavailableError{Provider: p.details.Name(), Err: fmt.Errorf("%w (%s)", metrics.ErrRateLimited, code)}
	case oneOf(code, denial) || status == http.StatusUnauthorized || status == http.StatusForbidden:
		return &metrics.UnavailableError{Provider: p.details.Name(), Err: fmt.Errorf("%w: %s", metrics.ErrCredentials, detail)}
	case status >= 300 && status < 400:
		return &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("the provider redirects (%d): set the address that it redirects to", status)}
	case status >= 400 && status < 500:
		return &metrics.QueryError{Expr: q.Expr, Message: "the provider refused it: " + detail}
	default:
		return &metrics.UnavailableError{Provider: p.details.Name(), Err: errors.New(detail)}
	}
}

// noAnswer is for what is no answer of the service: no credentials, no
// connection, no time left, or an answer that cannot be understood.
func (p *Provider) noAnswer(ctx context.Context, q metrics.Query, err error) error {
	var response *awshttp.ResponseError
	var serialization *smithy.DeserializationError
	switch {
	case ctx.Err() != nil:
		return p.details.Unavailable(ctx, q, err)
	case strings.Contains(err.Error(), "get identity: ") || strings.Contains(err.Error(), "get credentials"):
		return &metrics.UnavailableError{Provider: p.details.Name(), Err: fmt.Errorf("%w: the operator has no identity of AWS and the Secret no %s", metrics.ErrCredentials, accessKey)}
	case errors.As(err, &serialization), errors.As(err, &response):
		return &metrics.UnavailableError{Provider: p.details.Name(), Err: errors.New("the answer is not what its API sends")}
	default:
		return p.details.Unavailable(ctx, q, err)
	}
}

func statusOf(err error) int {
	var response *awshttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		return response.HTTPStatusCode()
	}
	return 0
}

func oneOf(code string, codes []string) bool {
	for _, c := range codes {
		if c == code {
			return true
		}
	}
	return false
}
