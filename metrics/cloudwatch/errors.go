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
	status := statusOf(err)
	code, detail := p.explanation(err, status)
	switch {
	case ctx.Err() != nil:
		return p.details.Unavailable(ctx, q, err)
	case oneOf(code, throttling) || status == http.StatusTooManyRequests:
		return p.unavailable(fmt.Errorf("%w: %s", metrics.ErrRateLimited, detail))
	case oneOf(code, denial) || status == http.StatusUnauthorized || status == http.StatusForbidden:
		return p.unavailable(fmt.Errorf("%w: %s", metrics.ErrCredentials, detail))
	case status >= 500:
		return p.unavailable(errors.New(detail))
	case status >= 400:
		return &metrics.QueryError{Expr: q.Expr, Message: "the provider refused it: " + detail}
	case status >= 300:
		return &metrics.QueryError{Expr: q.Expr, Message: fmt.Sprintf("the provider redirects (%d): set the address that it redirects to", status)}
	case status >= 200:
		return p.unavailable(errors.New("the answer is not what its API sends"))
	case isIdentity(err):
		return p.unavailable(fmt.Errorf("%w: the operator has no identity of AWS and the Secret no %s", metrics.ErrCredentials, accessKey))
	default:
		return p.details.Unavailable(ctx, q, err)
	}
}

func (p *Provider) unavailable(err error) error {
	return &metrics.UnavailableError{Provider: p.details.Name(), Err: err}
}

// explanation is the code of the service's error, if it sent one, and a text
// that is fit to be repeated.
func (p *Provider) explanation(err error, status int) (code, detail string) {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return "", fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
	}
	code = p.details.Detail(api.ErrorCode())
	if message := p.details.Detail(api.ErrorMessage()); message != "" && message != code {
		return code, code + ": " + message
	}
	return code, code
}

// isIdentity reports whether err comes from looking for credentials, for which
// the SDK has no type.
func isIdentity(err error) bool {
	return strings.Contains(err.Error(), "get identity: ") || strings.Contains(err.Error(), "get credentials")
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
