package influxdb

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-delivery/sluice/metrics"
)

// annotated is an answer in the form of
// https://docs.influxdata.com/influxdb/v2/reference/syntax/annotated-csv/.
type annotated struct {
	// failure is the message of a query that failed on its way.
	failure string
	tables  map[tableID]*table

	// The block of tables with the same columns that is being read.
	types, defaults, header []string
}

// tableID is unique in an answer: each result counts its tables from 0.
type tableID struct{ result, table string }

// table is a series. The maps are by column.
type table struct {
	types map[string]string
	rows  []map[string]string
}

var errForm = errors.New("not annotated CSV")

// read parses the answer. Every result ends with an empty line, by which a torn
// answer is told from a whole one; a failure has none.
func (a *annotated) read(body io.Reader) error {
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	r := csv.NewReader(bytes.NewReader(raw))
	r.FieldsPerRecord = -1
	a.tables = map[tableID]*table{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = a.record(record)
		}
		if err != nil {
			return err
		}
	}
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	if a.failure == "" && strings.TrimSpace(text) != "" && !strings.HasSuffix(text, "\n\n") {
		return errForm
	}
	return nil
}

func (a *annotated) record(fields []string) error {
	switch {
	case strings.HasPrefix(fields[0], "#"):
		a.annotation(fields)
		return nil
	case a.header == nil && slices.Contains(fields, "error") && slices.Contains(fields, "reference"):
		a.header = fields
		return nil
	case a.header == nil && len(a.types) != len(fields), a.header != nil && len(a.header) != len(fields):
		return errForm
	case a.header == nil:
		a.header = fields
		return nil
	}
	a.row(fields)
	return nil
}

// annotation takes a line above the header. The first of them begins a block.
func (a *annotated) annotation(fields []string) {
	if a.header != nil {
		a.header, a.types, a.defaults = nil, nil, nil
	}
	switch fields[0] {
	case "#datatype":
		a.types = fields
	case "#default":
		a.defaults = fields
	}
}

func (a *annotated) row(fields []string) {
	row, types := map[string]string{}, map[string]string{}
	for i, column := range a.header {
		row[column] = fields[i]
		if fields[i] == "" && i > 0 && i < len(a.defaults) {
			row[column] = a.defaults[i]
		}
		if i < len(a.types) {
			types[column] = a.types[i]
		}
	}
	if _, ok := types["_value"]; !ok && row["error"] != "" && slices.Contains(a.header, "reference") {
		a.failure = row["error"]
		return
	}
	id := tableID{row["result"], row["table"]}
	if a.tables[id] == nil {
		a.tables[id] = &table{types: types}
	}
	a.tables[id].rows = append(a.tables[id].rows, row)
}

// sample is the newest value in the column _value, by the column _time if there is one.
func (t *table) sample(q metrics.Query) (metrics.Sample, error) {
	kind, ok := t.types["_value"]
	if !ok {
		return metrics.Sample{}, &metrics.QueryError{Expr: q.Expr, Message: "its answer has no column _value: leave out pivot(), or rename the column"}
	}
	if !slices.Contains([]string{"double", "long", "unsignedLong"}, kind) {
		return metrics.Sample{}, notNumber(q, "no double or long")
	}
	var points []point
	for _, row := range t.rows {
		if row["_value"] == "" {
			continue
		}
		value, err := strconv.ParseFloat(row["_value"], 64)
		if err != nil {
			return metrics.Sample{}, notNumber(q, "a text")
		}
		points = append(points, point{at: nanoseconds(row["_time"]), value: value})
	}
	return newest(q, points)
}

// nanoseconds is 0 for what is no time.
func nanoseconds(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0
	}
	return t.UnixNano()
}
