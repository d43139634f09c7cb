package splunk

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// computation is what the events of a stream add up to. They are those of
// https://dev.splunk.com/observability/docs/signalflow/messages/stream_messages_specification.
type computation struct {
	// newest has the last value of each time series that has one.
	newest map[string]float64
	// failure is why the program is wrong, aborted why the computation stopped.
	failure, aborted string
	ended            bool
}

// event is the data of any event: the fields that it lacks stay empty.
type event struct {
	Event     string `json:"event"`
	AbortInfo struct {
		Reason string `json:"sf_job_abortReason"`
	} `json:"abortInfo"`
	Data []struct {
		ID    string   `json:"tsId"`
		Value *float64 `json:"value"`
	} `json:"data"`
	Message string `json:"message"`
	Errors  []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Context struct {
			Text string `json:"bindingName"`
		} `json:"context"`
	} `json:"errors"`
}

var errTorn = errors.New("the stream ends before the computation does")

// read takes the server-sent events of body up to the one that ends the
// computation. The data of one event may span several lines.
func (c *computation) read(body io.Reader) error {
	c.newest = map[string]float64{}
	lines := bufio.NewReader(body)
	var kind string
	var data strings.Builder
	for !c.ended {
		line, err := lines.ReadString('\n')
		if err != nil && (!errors.Is(err, io.EOF) || line == "" && data.Len() == 0) {
			return torn(err)
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch name {
		case "event":
			kind = strings.TrimSpace(value)
		case "data":
			data.WriteString(value)
		}
		if strings.TrimSpace(line) != "" && err == nil || data.Len() == 0 {
			continue
		}
		if err := c.take(kind, data.String()); err != nil {
			return err
		}
		kind = ""
		data.Reset()
	}
	return nil
}

func torn(err error) error {
	if errors.Is(err, io.EOF) {
		return errTorn
	}
	return err
}

func (c *computation) take(kind, data string) error {
	var e event
	if kind != "data" && kind != "error" && kind != "control-message" {
		return nil
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return err
	}
	switch kind {
	case "data":
		for _, point := range e.Data {
			if point.Value != nil {
				c.newest[point.ID] = *point.Value
			}
		}
	case "error":
		c.failure, c.ended = e.explanation(), true
	case "control-message":
		c.ended = e.Event == "END_OF_CHANNEL" || e.Event == "CHANNEL_ABORT"
		if e.Event == "CHANNEL_ABORT" {
			c.aborted = e.AbortInfo.Reason
			if c.aborted == "" {
				c.aborted = "no reason given"
			}
		}
	}
	return nil
}

func (e event) explanation() string {
	if len(e.Errors) == 0 {
		if e.Message != "" {
			return e.Message
		}
		return "no reason given"
	}
	first := e.Errors[0]
	parts := []string{first.Code}
	for _, s := range []string{first.Message, first.Context.Text} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}
