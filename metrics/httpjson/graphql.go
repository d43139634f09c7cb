package httpjson

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluice-delivery/sluice/metrics"
)

type graphQLAnswer struct {
	Data   json.RawMessage `json:"data"`
	Errors []graphQLError  `json:"errors"`
}

type graphQLError struct {
	Message    string `json:"message"`
	Extensions struct {
		Code       string `json:"code"`
		ErrorClass string `json:"errorClass"`
	} `json:"extensions"`
}

// GraphQL posts a document with variables to path and decodes the data of the
// answer into target. Errors come with status 200 (https://spec.graphql.org,
// section 7.1.2); their class, where there is one, tells a query that is wrong
// from a provider that is busy or that refuses the credentials.
func (c *Client) GraphQL(ctx context.Context, q metrics.Query, path, document string, variables map[string]any, target any) error {
	body, err := json.Marshal(map[string]any{"query": document, "variables": variables})
	if err != nil {
		return &metrics.QueryError{Expr: q.Expr, Message: "it cannot be put into a request"}
	}
	var answer graphQLAnswer
	if err := c.JSON(ctx, q, Request{Method: "POST", Path: path, Body: body}, &answer); err != nil {
		return err
	}
	if len(answer.Errors) > 0 {
		return c.graphQLFailure(q, answer.Errors[0])
	}
	if len(answer.Data) == 0 || json.Unmarshal(answer.Data, target) != nil {
		return &metrics.UnavailableError{Provider: c.name, Err: errors.New("the answer is not what its API sends")}
	}
	return nil
}

func (c *Client) graphQLFailure(q metrics.Query, e graphQLError) error {
	class := e.Extensions.ErrorClass
	if class == "" {
		class = e.Extensions.Code
	}
	detail := c.Detail(e.Message)
	switch class {
	case "UNAUTHORIZED", "UNAUTHENTICATED", "ACCESS_DENIED", "FORBIDDEN":
		return &metrics.UnavailableError{Provider: c.name, Err: fmt.Errorf("%w: %s", metrics.ErrCredentials, detail)}
	case "TOO_MANY_REQUESTS", "RATE_LIMITED":
		return &metrics.UnavailableError{Provider: c.name, Err: fmt.Errorf("%w: %s", metrics.ErrRateLimited, detail)}
	case "SERVER_ERROR", "INTERNAL_SERVER_ERROR", "TIMEOUT", "SERVICE_UNAVAILABLE":
		return &metrics.UnavailableError{Provider: c.name, Err: errors.New(detail)}
	default:
		return &metrics.QueryError{Expr: q.Expr, Message: "the provider refused it: " + detail}
	}
}
