package influxdb

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/httpjson"
)

// results is an answer in InfluxQL's form, with a result for each statement.
type results struct {
	Error   string   `json:"error"`
	Results []result `json:"results"`
}

type result struct {
	Error  string   `json:"error"`
	Series []series `json:"series"`
}

type series struct {
	Columns []string `json:"columns"`
	Values  [][]any  `json:"values"`
}

// read decodes the answer. Numbers stay as they are: nanoseconds are no float64.
func (a *results) read(body io.Reader) error {
	d := json.NewDecoder(body)
	d.UseNumber()
	if err := d.Decode(a); err != nil {
		return err
	}
	if a.Error == "" && a.Results == nil {
		return errors.New("no results")
	}
	return nil
}

func (a *results) failure() string {
	if a.Error != "" {
		return a.Error
	}
	for _, r := range a.Results {
		if r.Error != "" {
			return r.Error
		}
	}
	return ""
}

func (a *results) series() []series {
	var all []series
	for _, r := range a.Results {
		all = append(all, r.Series...)
	}
	return all
}

// sample is the newest value in the one column beside time.
func (s series) sample(q metrics.Query) (metrics.Sample, error) {
	times, value := -1, -1
	for i, column := range s.Columns {
		if column == "time" && times < 0 {
			times = i
		} else {
			value = i
		}
	}
	columns := len(s.Columns)
	if times >= 0 {
		columns--
	}
	if err := httpjson.One(q, columns, "select one field"); err != nil {
		return metrics.Sample{}, err
	}
	var points []point
	for _, row := range s.Values {
		if len(row) != len(s.Columns) || row[value] == nil {
			continue
		}
		number, ok := row[value].(json.Number)
		if !ok {
			return metrics.Sample{}, notNumber(q, "a text or a boolean")
		}
		f, err := number.Float64()
		if err != nil {
			return metrics.Sample{}, notNumber(q, "out of range")
		}
		points = append(points, point{at: at(row, times), value: f})
	}
	return newest(q, points)
}

// at is the time of a row, 0 for a row without a time.
func at(row []any, column int) int64 {
	if column < 0 {
		return 0
	}
	number, _ := row[column].(json.Number)
	at, err := number.Int64()
	if err != nil {
		return 0
	}
	return at
}
